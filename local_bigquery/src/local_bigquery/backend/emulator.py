"""The bqemulator child process, and its REST API as a client.

Only what it documents is used: its command line, its environment variables and BigQuery's REST API.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb
import httpx

from local_bigquery.errors import BigQueryError

T = TypeVar("T")

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
_KEEP_ALIVE_S = 2.0  # well below the 5 s after which the emulator closes a connection, maybe just as it is used again
_LOG_END = 2000  # characters of the log that an error quotes
_LISTENING = {"rest.listen": "rest_port", "grpc.listen": "grpc_port"}
_SERVER_ERROR = 500


@dataclass(frozen=True)
class EmulatorProcess:
    """A running bqemulator on loopback ports that it chose itself."""

    process: subprocess.Popen[bytes]
    log: Path
    rest_port: int
    grpc_port: int

    @classmethod
    def start(cls, directory: Path, project: str, *, persistent: bool) -> Self:
        """Start bqemulator and wait until it listens.

        Args:
            directory: Where it keeps its log, its home and, if persistent, its database. The user's home is not
                touched: DuckDB looks for extensions in the home directory, so the child gets one of its own.
            project: The default project.
            persistent: Whether tables survive a restart.

        Raises:
            RuntimeError: With the end of its log, if it does not start.
        """
        home = directory / "home"
        _provide_spatial_extension(home)
        log = directory / "bqemulator.log"
        command = [
            str(Path(sys.executable).parent / "bqemulator"), "start", "--rest-port", "0", "--grpc-port", "0",
            "--project", project, "--log-format", "json", "--log-level", "info",
        ]  # fmt: skip
        command += ["--persistent", "--data-dir", str(directory / "tables")] if persistent else ["--ephemeral"]
        # Avro is the one extension that it would download; without it only Avro files cannot be loaded.
        environment = os.environ | {
            "HOME": str(home),
            "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
            "BQEMU_UPLOAD_STAGING_DIR": str(directory / "uploads"),  # by default one that all users share
        }
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 -- a fixed program from this environment
                command, env=environment, cwd=directory, stdout=output, stderr=output, start_new_session=True
            )
        try:
            return cls(process, log, **_wait_until_listening(process, log))
        except BaseException:
            process.kill()
            process.wait()
            raise

    async def watch(self) -> str:
        """Wait until the process ends by itself, and return what there is to say about it."""
        await asyncio.to_thread(self.process.wait)
        return _obituary(self.process, self.log.read_text(errors="replace"))

    def stop(self) -> None:
        """Stop the process and wait for its end."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _provide_spatial_extension(home: Path) -> None:
    """Put DuckDB's spatial extension, which bqemulator insists on, where DuckDB looks for it under `home`."""
    version, platform = f"v{duckdb.__version__}", duckdb.sql("PRAGMA platform").fetchall()[0][0]
    name = "spatial.duckdb_extension"
    packaged = Path(str(resources.files("duckdb_extension_spatial"))) / "extensions" / version / name
    link = home / ".duckdb" / "extensions" / version / platform / name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(packaged)


def _wait_until_listening(process: subprocess.Popen[bytes], log: Path) -> dict[str, int]:
    """Return the ports, read from the log."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        ports = {}
        for line in re.findall(r'^\{.*"event": "(?:rest|grpc)\.listen".*\}$', text, re.MULTILINE):
            entry = json.loads(line)
            ports[_LISTENING[entry["event"]]] = int(entry["port"])
        if len(ports) == len(_LISTENING):
            return ports
        if process.poll() is not None:
            raise RuntimeError(_obituary(process, text))
        time.sleep(0.02)
    raise RuntimeError(f"bqemulator did not listen within {_START_TIMEOUT_S:.0f} s; its log ends:\n{text[-_LOG_END:]}")


def _obituary(process: subprocess.Popen[bytes], log: str) -> str:
    return f"bqemulator ended with exit code {process.returncode}; its log ends:\n{log[-_LOG_END:]}"


@dataclass(frozen=True)
class TableName:
    """The full name of a table."""

    project: str
    dataset: str
    table: str

    @property
    def reference(self) -> dict[str, str]:
        """The name as the REST API writes it."""
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": self.table}

    @property
    def sql(self) -> str:
        """The name as SQL."""
        return f"`{self.project}`.`{self.dataset}`.`{self.table}`"


class RestClient:
    """BigQuery's REST API, over something that sends a request and returns the answer."""

    def __init__(self, send: Callable[..., Awaitable[httpx.Response]]) -> None:
        self._send = send

    async def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send a request and return the answer, whatever its status.

        Raises:
            BigQueryError: If there is no answer, because the emulator has ended.
        """
        try:
            return await self._send(method, path, **arguments)
        except httpx.TransportError as error:
            # Not a reason at which clients try again: nothing will answer.
            raise BigQueryError("invalid", f"The emulator behind the local BigQuery is gone: {error!r}") from error

    async def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Call a method below `/bigquery/v2/projects/` and return its answer.

        Raises:
            BigQueryError: If the answer is an error.
        """
        response = await self.request(method, f"/bigquery/v2/projects/{path}", **arguments)
        if response.is_error:
            raise _error_of(response)
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    async def insert_job(self, project: str, job_id: str, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """Run a job to its end and return its resource.

        Raises:
            BigQueryError: If the job fails.
        """
        body = {
            "jobReference": {"projectId": project, "jobId": job_id, "location": "US"},
            "configuration": configuration,
        }
        job = await self.call("POST", f"{project}/jobs", json=body)
        error = job["status"].get("errorResult")
        if error is not None:
            raise BigQueryError(error["reason"], error["message"], error.get("location"))
        return job


class Emulator(RestClient):
    """The emulator's REST API, one request at a time.

    The emulator has one DuckDB connection for all its threads, and a statement that one thread runs can receive the
    result of another's: what touches tables must go through `exclusively`, the requests here and the gRPC calls alike.

    Attributes:
        in_turn: The same API for the inside of a call that is awaited by `exclusively`: several requests that no
            other comes between.
    """

    def __init__(self, rest_port: int) -> None:
        super().__init__(self._send_exclusively)
        self._rest_port = rest_port
        self._client = self._new_client()
        self._lock = asyncio.Lock()
        self._under_way: set[asyncio.Task[Any]] = set()
        self.in_turn = RestClient(self._request)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def exclusively(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call to the emulator while no other is under way.

        A caller that is cancelled leaves at once; the call goes on, because the emulator does not stop either.
        """
        task = asyncio.create_task(self._locked(call))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _locked(self, call: Coroutine[Any, Any, T]) -> T:
        async with self._lock:
            return await call

    async def _send_exclusively(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return await self.exclusively(self._request(method, path, **arguments))

    async def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        response = await self._client.request(method, path, **arguments)
        if response.status_code >= _SERVER_ERROR:
            # After such an answer the emulator closes the connection, without having said so: do not use it again.
            await self._client.aclose()
            self._client = self._new_client()
        return response

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._rest_port}",
            timeout=None,  # noqa: S113 -- queries take as long as they take
            limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S),
        )


def _error_of(response: httpx.Response) -> BigQueryError:
    """Return the error in an answer.

    What the emulator cannot do it reports with a status from 500 up, at which clients try again for minutes although
    nothing will change: such an error becomes one that is final.
    """
    try:
        error = response.json()["error"]
        reason, message = error["errors"][0]["reason"], error["message"]
    except (ValueError, KeyError, IndexError):
        reason, message = "invalid", response.text[:1000]
    if response.status_code >= _SERVER_ERROR:
        return BigQueryError("invalidQuery", f"The emulator cannot do this: {message}", location="query")
    return BigQueryError(reason, message)
