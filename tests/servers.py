"""Servers as processes of their own, each for as long as a `with` block lasts."""

import json
import os
import re
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from local_stack.servers import BIGQUERY, BIGTABLE, ROOT, running
from prediction_store.layout import Instance
from tests.waiting import wait_for

INSTANCE = Instance("test-project", "test-instance")
SERVICE_PYTHON = ROOT / ".venvs" / "serving_api" / "bin" / "python"
SERVICE_COMMAND = (SERVICE_PYTHON, "-m", "serving_api")


@contextmanager
def bigtable_server(port=0, implementation="auto", garbage_collection=None):
    """A Bigtable; yields its address."""
    options = ["--port", str(port), "--implementation", implementation]
    if garbage_collection:
        options += ["--garbage-collection", garbage_collection]
    with running(*BIGTABLE, *options) as line:
        yield line.split()[-1]


@contextmanager
def bigquery_server():
    """A BigQuery; yields the addresses of its REST API and of its Storage Read API."""
    with running(*BIGQUERY) as line:
        yield re.findall(r"127\.0\.0\.1:\d+", line)


@contextmanager
def service(bigtable_address, **settings):
    """The service on the Bigtable at an address; yields its URL."""
    with service_process(BIGTABLE_EMULATOR_HOST=bigtable_address, **settings) as (_, url):
        yield url


@contextmanager
def service_process(*options, log=None, workers=1, **variables):
    """The command of the service, in the environment that it is deployed with; yields its process and its URL.

    Args:
        options: options of the command.
        log: the file for its standard error; a temporary one if it is None.
        workers: the number of its processes.
        variables: environment variables.
    """
    command = [*SERVICE_COMMAND, "--port", "0", "--workers", str(workers), *options]
    with process(command, service_environment(**variables), log) as started:
        wait_for(lambda: started.log().count("Started worker") == workers)
        yield started, json.loads(started.log().splitlines()[0])["url"]


def service_environment(**variables):
    """The environment variables of a service, without this process's `SERVING_*` and `OTEL_*`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SERVING_", "OTEL_"))}
    instance = {"SERVING_PROJECT": INSTANCE.project, "SERVING_INSTANCE": INSTANCE.instance}
    return {**inherited, **instance, **{name: str(value) for name, value in variables.items()}}


class Process(subprocess.Popen):
    """A process that writes its standard error to a file."""

    def __init__(self, command, environment, log):
        with log.open("wb") as file:
            super().__init__(command, cwd=ROOT, env=environment, stderr=file)
        self._log = log

    def log(self):
        """The standard error so far. Fails if the process has ended."""
        text = self._log.read_text()
        assert self.poll() is None, text
        return text


@contextmanager
def process(command, environment=None, log=None):
    """A command; yields its Process.

    Args:
        command: the program and its arguments.
        environment: its environment variables; those of this process if it is None.
        log: the file for its standard error; a temporary one if it is None.
    """
    with TemporaryDirectory() as folder, Process(command, environment, log or Path(folder, "log")) as started:
        try:
            yield started
        finally:
            started.terminate()


def accepts(host, port):
    """Return True if a server accepts connections."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0
