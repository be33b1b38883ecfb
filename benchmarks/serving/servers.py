"""Servers in processes of their own, on CPUs of their own, and what they take of these."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

import psutil

from benchmarks.serving.cores import pinned
from local_stack.servers import ROOT

ServerSoftware = Literal["uvicorn", "granian"]

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_STOP_SECONDS = 20.0
_LOG_BYTES = 4_000

Command = Callable[[int], list[str | Path]]
"""The command that serves at a port."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is running."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """User and system time of all threads of its processes so far."""
        processes = [self.process, *self.process.children(recursive=True)]
        times = [process.cpu_times() for process in processes]
        return float(sum(each.user + each.system for each in times))


def asgi(software: ServerSoftware, module: str) -> Command:
    """Serves the `app` of one of the modules in `benchmarks.serving.apps` as the service would be served."""
    app = f"benchmarks.serving.apps.{module}:app"

    def command(port: int) -> list[str | Path]:
        if software == "granian":
            options = f"--interface asgi --loop uvloop --http 1 --no-ws --no-log --host 127.0.0.1 --port {port}"
        else:
            options = (
                f"--loop uvloop --http httptools --ws none --no-access-log --no-server-header --no-proxy-headers "
                f"--log-level warning --host 127.0.0.1 --port {port}"
            )
        return [sys.executable, "-m", software, *options.split(), app]

    return command


def service(workers: int = 1) -> Command:
    """Serves Foreserve's service, as shipped."""

    def command(port: int) -> list[str | Path]:
        options = ("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers))
        return [sys.executable, "-m", "serving_api", *options]

    return command


@contextmanager
def serving(command: Command, ready_path: str, cores: set[int], variables: Mapping[str, str]) -> Iterator[Server]:
    """Run a server for as long as the context lasts.

    Args:
        command: what to run.
        ready_path: a path that it answers with 200 once it is ready.
        cores: the CPUs that it may use.
        variables: more environment variables.

    Raises:
        RuntimeError: it ended, or it was not ready in time; the message has the end of what it said.
    """
    port = _free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    with TemporaryFile() as log:
        with pinned(cores):
            process = subprocess.Popen(command(port), cwd=ROOT, env=environment, stdout=log, stderr=log)  # noqa: S603  our own commands
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}{ready_path}", log.fileno())
            yield Server(port, psutil.Process(process.pid))
        finally:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: int) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > give_up:
            ending = "ended" if process.poll() is not None else "is not ready"
            said = os.pread(log, _LOG_BYTES, max(0, os.fstat(log).st_size - _LOG_BYTES)).decode(errors="replace")
            raise RuntimeError(f"{process.args!r} {ending}; it said:\n{said}")
        time.sleep(_POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  a server on this machine
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
