"""Start the services of the stack in the background, find them again, and stop them with all their children.

A service runs in a session of its own and outlives the command that started it. Its processes and their children have
the state folder in their environment. So a later command finds them, even if their parents have ended.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from local_stack.settings import ROOT
from local_stack.stack import Service

_MARK = "FORESERVE_LOCAL_STACK"
_NAME = "FORESERVE_LOCAL_SERVICE"
_START_SECONDS = 300.0
_KILL_SECONDS = 15.0
_POLL_SECONDS = 0.1


class StartError(Exception):
    """A service did not start. The message has the service, the reason, and the path and end of its log."""


def start(service: Service, state: Path) -> subprocess.Popen[bytes]:
    """Start a service. Its output goes to the log folder."""
    log = log_file(service.name, state)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **service.environment}
    environment |= {_MARK: str(state), _NAME: service.name, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603  the commands of the stack
            service.command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def wait_until_ready(service: Service, process: subprocess.Popen[bytes], state: Path) -> None:
    """Wait until a service answers.

    Raises:
        StartError: the service ended, did not answer in five minutes, or another program answers on its port.
    """
    deadline = time.monotonic() + _START_SECONDS
    log = log_file(service.name, state)
    with httpx.Client(timeout=2) as client:
        while not _is_ready(service, client):
            if process.poll() is not None:
                problem = f"ended with code {process.returncode}"
            elif time.monotonic() >= deadline:
                problem = f"did not answer in {_START_SECONDS:g} s"
            else:
                time.sleep(_POLL_SECONDS)
                continue
            raise StartError(f"{service.title} {problem}; the end of {log}:\n{_tail(log)}")
    if not _listens(service, state):  # a second stack may have chosen the same free port
        raise StartError(f"{service.title}: another program took port {service.port} meanwhile; run make up again")


def running(state: Path) -> dict[str, list[psutil.Process]]:
    """Return the processes of the stack with this state folder, by service name, oldest first."""
    by_service: dict[str, list[psutil.Process]] = {}
    for process in sorted(psutil.process_iter(), key=lambda p: p.pid):
        try:
            environment = process.environ()
        except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if environment.get(_MARK) == str(state) and process.status() != psutil.STATUS_ZOMBIE:
            by_service.setdefault(environment.get(_NAME, "other"), []).append(process)
    return by_service


def stop(service: Service, state: Path) -> bool:
    """Stop a service and its children. Return True if any of them was running."""
    processes = running(state).get(service.name, [])
    if not processes:
        return False
    _signal(processes[0], signal.SIGINT if service.interrupt else signal.SIGTERM)
    _wait_gone(lambda: running(state).get(service.name, []), service.stop_seconds)
    for process in running(state).get(service.name, []):
        _signal(process, signal.SIGKILL)
    _wait_gone(lambda: running(state).get(service.name, []), _KILL_SECONDS)
    return True


def log_file(service: str, state: Path) -> Path:
    """Return the log file of a service."""
    return state / "logs" / f"{service}.log"


def _is_ready(service: Service, client: httpx.Client) -> bool:
    if service.ready_url is None:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", service.port)) == 0
    try:
        return client.get(service.ready_url).is_success
    except httpx.TransportError:
        return False


def _listens(service: Service, state: Path) -> bool:
    """Return True if a process of the service listens on its port."""
    connections = (each for process in running(state).get(service.name, []) for each in _connections(process))
    return any(each.status == psutil.CONN_LISTEN and each.laddr.port == service.port for each in connections)


def _connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections("tcp"))
    except psutil.Error:
        return []  # the process has ended


def _signal(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def _wait_gone(processes: Callable[[], list[psutil.Process]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while processes() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
