"""The server: starts and stops the emulator, the gateway of its REST API and the proxy of its Storage API."""

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

from local_bigquery.analyzer.service import prepare
from local_bigquery.backend.emulator import Emulator, EmulatorProcess, is_hidden_job
from local_bigquery.backend.storage import start_storage
from local_bigquery.ml.registry import ModelRegistry
from local_bigquery.ml.store import ModelStore
from local_bigquery.rest.app import create_app
from local_bigquery.run.analysis import StatementAnalyzer
from local_bigquery.run.jobs import JobRegistry
from local_bigquery.run.query import QueryRunner
from local_bigquery.run.scratch import recreate_dataset

_STOP_TIMEOUT_S = 2


@dataclass(frozen=True)
class Settings:
    """The settings of the server.

    Attributes:
        host: the address to listen on.
        port: the port of the REST API; 0 chooses a free one.
        storage_port: the port of the Storage API; 0 chooses a free one.
        project: the default project.
        data_dir: the directory that keeps tables and models; None for a temporary one.
        analysis: analyse each statement before it runs.
    """

    host: str
    port: int
    storage_port: int
    project: str
    data_dir: Path | None
    analysis: bool = True


@dataclass(frozen=True)
class Addresses:
    """The addresses of the REST and the Storage API, each as `host:port`."""

    rest: str
    storage: str


class PortTakenError(Exception):
    """A requested port is in use."""

    def __init__(self, api: str, host: str, port: int) -> None:
        super().__init__(f"Port {port} on {host} for {api} is taken: stop the process that uses it, or choose another")


async def serve(settings: Settings, ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: the settings.
        ready: called once, as soon as requests are answered.

    Raises:
        PortTakenError: a port is in use.
        RuntimeError: the emulator did not start, or ended by itself.
    """
    signal.signal(signal.SIGTERM, _exit)
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
    emulator = Emulator(process.rest_port, process.interrupt)
    jobs = JobRegistry()
    try:
        await recreate_dataset(emulator, settings.project)
        for job in (await emulator.call("GET", f"{settings.project}/jobs", params={"maxResults": 1_000_000}))["jobs"]:
            if not is_hidden_job(job["jobReference"]["jobId"]):
                jobs.adopt(job)
        files = directory / "rows"
        files.mkdir(exist_ok=True)
        models = ModelRegistry(emulator, ModelStore(directory / "models"))
        analyzer = StatementAnalyzer(emulator, models) if settings.analysis else None
        runner = QueryRunner(emulator, models, settings.project, files, analyzer)
        storage, storage_port = await start_storage(emulator, process.grpc_port, settings.host, settings.storage_port)
        if settings.analysis:
            await asyncio.to_thread(prepare)
        ready(Addresses(f"{settings.host}:{listener.getsockname()[1]}", f"{settings.host}:{storage_port}"))
        try:
            await _run_until_signal(create_app(emulator, jobs, runner, models), listener, process)
        finally:
            await storage.stop(grace=_STOP_TIMEOUT_S)
    finally:
        await jobs.close()
        await emulator.close()


def _exit(*_: object) -> None:
    """Raise SystemExit, so that context managers clean up."""
    sys.exit(0)


async def _run_until_signal(app: Starlette, listener: socket.socket, process: EmulatorProcess) -> None:
    # uvicorn stops at a signal and then raises the signal again for the previous handler, which must do nothing.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    config = uvicorn.Config(
        app, lifespan="off", access_log=False, log_level="warning", timeout_graceful_shutdown=_STOP_TIMEOUT_S
    )
    server = uvicorn.Server(config)

    async def exit_with_emulator() -> str:
        reason = await process.wait_for_exit()
        server.should_exit = True
        return reason

    watch = asyncio.create_task(exit_with_emulator())
    await server.serve(sockets=[listener])
    if not watch.cancel():
        raise RuntimeError(f"The local BigQuery ends because its emulator ended: {watch.result()}")


def _listen(api: str, host: str, port: int) -> socket.socket:
    # asyncio disables Nagle's algorithm, which costs 40 ms a response, only if the protocol is given explicitly.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise PortTakenError(api, host, port) from error
    listener.listen(128)
    return listener
