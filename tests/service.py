"""The lookup service as a process, in the environment that it is deployed with."""

import json
import os
import socket
import subprocess
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

from local_stack.servers import ROOT
from tests.store import INSTANCE

SERVICE_PYTHON = ROOT / ".venvs" / "serving_api" / "bin" / "python"


@contextmanager
def service_process(address, log, **settings):
    """A service that reads the Bigtable at an address, and writes to a log file; yields its URL."""
    variables = {"SERVING_PROJECT": INSTANCE.project, "SERVING_INSTANCE": INSTANCE.instance, **settings}
    command = [SERVICE_PYTHON, "-m", "serving_api", "--port", "0"]
    environment = {**os.environ, "BIGTABLE_EMULATOR_HOST": address, **variables}
    with log.open("wb") as written, subprocess.Popen(command, cwd=ROOT, env=environment, stderr=written) as process:
        try:
            while (url := _answering(log)) is None:
                assert process.poll() is None, log.read_text()
                time.sleep(0.02)
            yield url
        finally:
            process.terminate()


def _answering(log):
    """The URL in the first line of the service's log, once it accepts connections."""
    lines = log.read_text().splitlines()
    if not lines:
        return None
    url = json.loads(lines[0])["url"]
    try:
        socket.create_connection(("127.0.0.1", urlsplit(url).port)).close()
    except ConnectionRefusedError:
        return None
    return url
