"""Servers in processes of their own, on CPUs of their own, and the CPU time that they take."""

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
from typing import Literal, Self

import psutil

from benchmarks.processes import Usage, use
from local_stack.servers import ROOT

ServerSoftware = Literal["uvicorn", "granian"]

_START_SECONDS = 180.0
_POLL_SECONDS = 0.05
_STOP_SECONDS = 20.0
_LOG_BYTES = 4_000

Command = Callable[[int], list[str | Path]]
"""A function from a port to the command of a server at that port."""


@dataclass(frozen=True, slots=True)
class Cores:
    """The CPUs of this machine by their use: one set for the service, one for all other processes."""

    service: set[int]
    others: set[int]

    @classmethod
    def of_this_machine(cls) -> Self:
        """One CPU for the service, the next for the others. Larger machines use no more, to measure the same."""
        first, *rest = sorted(os.sched_getaffinity(0))
        return cls({first}, set(rest[:1]) or {first})


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Let processes that this thread starts in this context run only on some CPUs."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    port: int
    process: psutil.Process

    def use(self) -> Usage:
        """The CPU time of the server's processes so far, and their memory."""
        return use((self.process, *self.process.children(recursive=True)))


def asgi(software: ServerSoftware, app: str) -> Command:
    """A command that serves an ASGI application, given as MODULE:NAME in this package, like the service."""

    def command(port: int) -> list[str | Path]:
        if software == "granian":
            options = f"--interface asgi --loop uvloop --http 1 --no-ws --no-log --host 127.0.0.1 --port {port}"
        else:
            options = (
                f"--loop uvloop --http httptools --ws none --no-access-log --no-server-header --no-proxy-headers "
                f"--log-level warning --host 127.0.0.1 --port {port}"
            )
        return [sys.executable, "-m", software, *options.split(), f"benchmarks.serving.{app}"]

    return command


def service(workers: int = 1) -> Command:
    """A command that serves Foreserve's service, as shipped."""

    def command(port: int) -> list[str | Path]:
        options = ("--host", "127.0.0.1", "--port", str(port), "--workers", str(workers))
        return [sys.executable, "-m", "serving_api", *options]

    return command


@contextmanager
def serving(command: Command, ready_path: str, cores: set[int], variables: Mapping[str, str]) -> Iterator[Server]:
    """Run a server.

    Args:
        command: the server's command.
        ready_path: the path that the server answers with 200 when it is ready.
        cores: the CPUs that the server may use.
        variables: environment variables of the server, besides those of this process.

    Raises:
        RuntimeError: the server ended or was not ready in time. The message has the end of its output.
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
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            ending = "ended" if process.poll() is not None else "is not ready"
            output = os.pread(log, _LOG_BYTES, max(0, os.fstat(log).st_size - _LOG_BYTES)).decode(errors="replace")
            raise RuntimeError(f"{process.args!r} {ending}; its output:\n{output}")
        time.sleep(_POLL_SECONDS)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  a server on this machine
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
