"""Starts and stops the parts: the emulator, the gateway in front of its REST API, the proxy of its gRPC API."""

import asyncio
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from local_bigquery.backend.emulator import Emulator, EmulatorProcess
from local_bigquery.backend.storage import start_storage
from local_bigquery.ml.registry import ModelRegistry
from local_bigquery.ml.store import ModelCatalog
from local_bigquery.rest.app import create_app
from local_bigquery.run.jobs import JobRegistry
from local_bigquery.run.query import QueryRunner
from local_bigquery.run.scratch import HIDDEN_JOB, recreate_dataset

_STOP_TIMEOUT_S = 2


@dataclass(frozen=True)
class Settings:
    """What to start.

    Attributes:
        host: The address to listen on.
        port: The port of the REST API; 0 chooses a free one.
        storage_port: The port of the Storage API; 0 chooses a free one.
        project: The default project.
        data_dir: Where tables and models are kept; None forgets them at the end.
    """

    host: str
    port: int
    storage_port: int
    project: str
    data_dir: Path | None


@dataclass(frozen=True)
class Addresses:
    """Where BigQuery listens, as `host:port`."""

    rest: str
    storage: str


class PortTakenError(Exception):
    """A port that was asked for is in use."""

    def __init__(self, what: str, host: str, port: int) -> None:
        super().__init__(f"Port {port} on {host}, wanted for {what}, is taken: stop what uses it or choose another")


async def serve(settings: Settings, ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: What to start.
        ready: Called once, when requests are answered.

    Raises:
        PortTakenError: If a port is in use.
        RuntimeError: If the emulator does not start, or ends by itself.
    """
    signal.signal(signal.SIGTERM, _leave)
    with ExitStack() as stack:
        listener = stack.enter_context(_listen("the REST API", settings.host, settings.port))
        if settings.storage_port:
            _listen("the Storage API", settings.host, settings.storage_port).close()
        if settings.data_dir is None:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="local-bigquery-")))
        else:
            directory = settings.data_dir.resolve()
            directory.mkdir(parents=True, exist_ok=True)
        process = EmulatorProcess.start(directory, settings.project, persistent=settings.data_dir is not None)
        stack.callback(process.stop)
        await _serve(settings, directory, process, listener, ready)


async def _serve(
    settings: Settings,
    directory: Path,
    process: EmulatorProcess,
    listener: socket.socket,
    ready: Callable[[Addresses], None],
) -> None:
    emulator = Emulator(process.rest_port)
    jobs = JobRegistry()
    try:
        await recreate_dataset(emulator, settings.project)
        for job in (await emulator.call("GET", f"{settings.project}/jobs", params={"maxResults": 1_000_000}))["jobs"]:
            if not job["jobReference"]["jobId"].startswith(HIDDEN_JOB):
                jobs.adopt(job)
        files = directory / "rows"
        files.mkdir(exist_ok=True)
        models = ModelRegistry(emulator, ModelCatalog(directory / "models"))
        runner = QueryRunner(emulator, models, settings.project, files)
        storage, storage_port = await start_storage(emulator, process.grpc_port, settings.host, settings.storage_port)
        ready(Addresses(f"{settings.host}:{listener.getsockname()[1]}", f"{settings.host}:{storage_port}"))
        try:
            await _run_until_signal(create_app(emulator, jobs, runner, models), listener, process)
        finally:
            await storage.stop(grace=_STOP_TIMEOUT_S)
    finally:
        await jobs.close()
        await emulator.close()


def _leave(*_: object) -> None:
    """End the process from where it is, cleaning up on the way out."""
    sys.exit(0)


async def _run_until_signal(app: Starlette, listener: socket.socket, process: EmulatorProcess) -> None:
    # uvicorn stops at a signal, and then hands it on to the handler that it found: one that does nothing.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_level="warning", timeout_graceful_shutdown=_STOP_TIMEOUT_S
    )
    server = uvicorn.Server(config)

    async def leave_with_emulator() -> str:
        reason = await process.watch()
        server.should_exit = True
        return reason

    watch = asyncio.create_task(leave_with_emulator())
    await server.serve(sockets=[listener])
    if not watch.cancel():
        raise RuntimeError(f"The local BigQuery ends, because its emulator has: {watch.result()}")


def _listen(what: str, host: str, port: int) -> socket.socket:
    # The protocol is named because asyncio turns off Nagle's algorithm, which costs 40 ms an answer, only if it is.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTakenError(what, host, port) from error
    listener.listen(128)
    return listener
