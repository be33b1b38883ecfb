"""Servers as processes of their own, each for as long as a `with` block lasts."""

import json
import os
import re
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from urllib.parse import urlsplit

from local_stack.servers import BIGQUERY, BIGTABLE, ROOT, running
from prediction_store.layout import Instance
from tests.waiting import wait_for

INSTANCE = Instance("test-project", "test-instance")
SERVICE_PYTHON = ROOT / ".venvs" / "serving_api" / "bin" / "python"


@contextmanager
def bigtable_server(port=0, implementation="auto"):
    """A Bigtable; yields its address."""
    with running(*BIGTABLE, "--port", str(port), "--implementation", implementation) as line:
        yield line.split()[-1]


@contextmanager
def bigquery_server():
    """A BigQuery; yields the addresses of its REST API and of its Storage Read API."""
    with running(*BIGQUERY) as line:
        yield re.findall(r"127\.0\.0\.1:\d+", line)


@contextmanager
def service(bigtable_address, **settings):
    """The lookup service, in the environment that it is deployed with; yields its URL."""
    settings |= {"SERVING_PROJECT": INSTANCE.project, "SERVING_INSTANCE": INSTANCE.instance}
    command = [SERVICE_PYTHON, "-m", "serving_api", "--port", "0"]
    with process(command, BIGTABLE_EMULATOR_HOST=bigtable_address, **settings) as log:
        yield wait_for(lambda: _listening(log()))


@contextmanager
def process(command, **environment):
    """A command, in an environment with these variables; yields a function that returns its standard error so far.

    The function fails once the command has ended.
    """
    with (
        NamedTemporaryFile() as log,
        subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stderr=log) as started,
    ):

        def written():
            text = Path(log.name).read_text()
            assert started.poll() is None, text
            return text

        try:
            yield written
        finally:
            started.terminate()


def _listening(log):
    """The URL in the first line of the service's log, once it accepts connections."""
    if "\n" not in log:
        return None
    url = json.loads(log.splitlines()[0])["url"]
    return url if accepts("127.0.0.1", urlsplit(url).port) else None


def accepts(host, port):
    """Return True if a server accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
