"""The bqemulator child process, and a client of its REST API.

The process is bqemulator with GoogleSQL's functions (`googlesql.process`). Its command line, its environment variables
and BigQuery's REST API are documented interfaces.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar

import duckdb
import httpx

from local_bigquery.errors import BigQueryError
from local_bigquery.schema import Schema
from local_bigquery.sql.parameters import inlined

T = TypeVar("T")
JobResource = dict[str, Any]  # https://cloud.google.com/bigquery/docs/reference/rest/v2/Job

Result = tuple[Schema, list[list[Any]]]  # the columns and rows of a query, with values as the REST API writes them

_ALL_ROWS = 2**31
_HIDDEN_JOB_PREFIX = "bigquery_ml_"
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0
# The emulator closes an idle connection after 5 s, possibly just as the client reuses it; this is well below.
_KEEP_ALIVE_S = 2.0
_INTERRUPT_INTERVAL_S = 0.1
_LOG_TAIL_CHARACTERS = 2000
_LISTENING = {"rest.listen": "rest_port", "grpc.listen": "grpc_port"}
_SERVER_ERROR = 500
_EMULATORS_PREFIX = "Query execution failed: "


@dataclass(frozen=True)
class EmulatorProcess:
    """A running bqemulator, which listens on loopback ports that it chose itself."""

    process: subprocess.Popen[bytes]
    log: Path
    rest_port: int
    grpc_port: int

    @classmethod
    def start(cls, directory: Path, project: str, *, persistent: bool) -> Self:
        """Start bqemulator and wait until it listens.

        Args:
            directory: the folder of its log, its home directory and, if persistent, its database. DuckDB looks for
                extensions in the home directory, so the process gets one of its own, and the user's is not touched.
            project: the default project.
            persistent: whether tables survive a restart.

        Raises:
            RuntimeError: it did not start; the message has the end of its log.
        """
        home = directory / "home"
        _provide_spatial_extension(home)
        log = directory / "bqemulator.log"
        command = [
            sys.executable, "-m", "local_bigquery.googlesql.process", "start", "--rest-port", "0", "--grpc-port", "0",
            "--project", project, "--log-format", "json", "--log-level", "info",
        ]  # fmt: skip
        command += ["--persistent", "--data-dir", str(directory / "tables")] if persistent else ["--ephemeral"]
        environment = os.environ | {
            "HOME": str(home),
            # bqemulator would download the Avro extension. Without it, only Avro files cannot be loaded.
            "BQEMU_ENABLE_FORMAT_EXTENSIONS": "false",
            # The default folder is shared by all users of the machine.
            "BQEMU_UPLOAD_STAGING_DIR": str(directory / "uploads"),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603  a fixed program from this environment
                command,
                env=environment,
                cwd=directory,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            return cls(process, log, **_wait_until_listening(process, log))
        except BaseException:
            process.kill()
            process.wait()
            raise

    async def wait_for_exit(self) -> str:
        """Wait until the process ends by itself, and return a message with its exit code and the end of its log."""
        await asyncio.to_thread(self.process.wait)
        return _exit_message(self.process, self.log.read_text(errors="replace"))

    def interrupt(self) -> None:
        """Stop the statement that runs, if any."""
        pipe = self.process.stdin
        if pipe is not None:
            with suppress(OSError):  # the process has ended
                os.write(pipe.fileno(), b".")

    def stop(self) -> None:
        """Stop the process and wait for its end."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _provide_spatial_extension(home: Path) -> None:
    """Link DuckDB's spatial extension, which bqemulator requires, to where DuckDB looks for it below `home`."""
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
            raise RuntimeError(_exit_message(process, text))
        time.sleep(0.02)
    tail = text[-_LOG_TAIL_CHARACTERS:]
    raise RuntimeError(f"bqemulator did not listen within {_START_TIMEOUT_S:.0f} s; its log ends:\n{tail}")


def _exit_message(process: subprocess.Popen[bytes], log: str) -> str:
    tail = log[-_LOG_TAIL_CHARACTERS:]
    return f"bqemulator ended with exit code {process.returncode}; its log ends:\n{tail}"


@dataclass(frozen=True)
class TableName:
    """The full name of a table."""

    project: str
    dataset: str
    table: str

    @property
    def reference(self) -> dict[str, str]:
        """The TableReference of the REST API."""
        return {"projectId": self.project, "datasetId": self.dataset, "tableId": self.table}

    @property
    def rest_path(self) -> str:
        """The path of the table's resource below `/bigquery/v2/projects/`."""
        return f"{self.project}/datasets/{self.dataset}/tables/{self.table}"

    @property
    def sql(self) -> str:
        """The name as SQL writes it."""
        return f"`{self.project}`.`{self.dataset}`.`{self.table}`"


class RestClient:
    """A client of BigQuery's REST API.

    Args:
        send: sends a request (method, path, arguments of httpx) and returns the response.
    """

    def __init__(self, send: Callable[..., Awaitable[httpx.Response]]) -> None:
        self._send = send

    async def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Send a request and return the response, whatever its status.

        Raises:
            BigQueryError: there is no response because the emulator has ended.
        """
        try:
            return await self._send(method, path, **arguments)
        except httpx.TransportError as error:
            # `invalid` is a reason that clients do not retry: no later request will be answered either.
            raise BigQueryError("invalid", f"The emulator behind the local BigQuery is gone: {error!r}") from error

    async def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        """Call a method below `/bigquery/v2/projects/` and return the body of its response.

        Raises:
            BigQueryError: the response is an error.
        """
        response = await self.request(method, f"/bigquery/v2/projects/{path}", **arguments)
        if response.is_error:
            raise _error_of(response)
        body: dict[str, Any] = response.json() if response.content else {}
        return body

    async def insert_job(self, project: str, job_id: str, configuration: Mapping[str, Any]) -> JobResource:
        """Run a job to its end and return its resource.

        Raises:
            BigQueryError: the job failed.
        """
        body = {
            "jobReference": {"projectId": project, "jobId": job_id, "location": "US"},
            "configuration": _with_literals(configuration),
        }
        job = await self.call("POST", f"{project}/jobs", json=body)
        error = job["status"].get("errorResult")
        if error is not None:
            message = error["message"].removeprefix(_EMULATORS_PREFIX)
            raise BigQueryError(error["reason"], message, error.get("location"))
        return job

    async def delete_job(self, project: str, job_id: str) -> None:
        """Delete a job that has ended."""
        await self.call("DELETE", f"{project}/jobs/{job_id}/delete")

    async def rows(self, project: str, query: Mapping[str, Any]) -> Result:
        """Run a query that no client knows; return its columns and rows.

        Args:
            project: the project of the job.
            query: the query configuration.

        Raises:
            BigQueryError: the query failed.
        """
        job_id = hidden_job_id()
        await self.insert_job(project, job_id, {"query": query})
        try:
            answer = await self.call("GET", f"{project}/queries/{job_id}", params={"maxResults": _ALL_ROWS})
        finally:
            await self.delete_job(project, job_id)
        return answer["schema"]["fields"], [[cell["v"] for cell in row["f"]] for row in answer.get("rows", [])]

    async def run_hidden_job(self, project: str, configuration: Mapping[str, Any]) -> JobResource:
        """Run a job that no client knows to its end, delete it, and return its resource.

        Raises:
            BigQueryError: the job failed.
        """
        job_id = hidden_job_id()
        job = await self.insert_job(project, job_id, configuration)
        await self.delete_job(project, job_id)
        return job


class Emulator(RestClient):
    """A client of the emulator that sends one request at a time.

    The emulator uses one DuckDB connection for all its threads, and a statement of one thread can receive the result of
    another's. So every REST request and every gRPC call that touches tables must hold the lock of `exclusively`.

    Args:
        rest_port: the port of the emulator's REST API.
        interrupt: stops the statement that the emulator runs.

    Attributes:
        unlocked: a client that does not take the lock. Use it only inside a coroutine that is awaited by
            `exclusively`, to send several requests with no other request between them.
    """

    def __init__(self, rest_port: int, interrupt: Callable[[], None]) -> None:
        super().__init__(self._send_exclusively)
        self._rest_port = rest_port
        self._interrupt = interrupt
        self._client = self._new_client()
        self._lock = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self.unlocked = RestClient(self._request)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def exclusively(self, call: Coroutine[Any, Any, T]) -> T:
        """Await a call to the emulator while holding the lock.

        If the caller is cancelled, it returns at once, and the call's statement is stopped. A call that still waits for
        the lock never starts.
        """
        started = asyncio.Event()
        task = asyncio.create_task(self._locked(call, started))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if started.is_set():
                stopping = asyncio.create_task(self._stop(task))
                self._running.add(stopping)
                stopping.add_done_callback(self._running.discard)
            else:
                task.cancel()
                call.close()
            raise

    async def _locked(self, call: Coroutine[Any, Any, T], started: asyncio.Event) -> T:
        async with self._lock:
            started.set()
            return await call

    async def _stop(self, task: asyncio.Task[Any]) -> None:
        """Interrupt the emulator until a call ends: an interruption between two statements has no effect."""
        while not task.done():
            self._interrupt()
            await asyncio.wait({task}, timeout=_INTERRUPT_INTERVAL_S)
        if not task.cancelled():
            task.exception()  # the error of the interruption is expected

    async def _send_exclusively(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return await self.exclusively(self._request(method, path, **arguments))

    async def _request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        response = await self._client.request(method, path, **arguments)
        if response.status_code >= _SERVER_ERROR:
            # The emulator closes the connection after a server error without announcing it, so it must not be reused.
            await self._client.aclose()
            self._client = self._new_client()
        return response

    def _new_client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self._rest_port}",
            timeout=None,  # noqa: S113  a query may take any time
            limits=httpx.Limits(keepalive_expiry=_KEEP_ALIVE_S),
        )


def _with_literals(configuration: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of a job with literals in place of query parameters."""
    if "query" not in configuration or configuration["query"].get("useLegacySql"):
        return configuration
    return {**configuration, "query": inlined(configuration["query"])}


def hidden_job_id() -> str:
    """Return a new id for a job that no client knows."""
    return f"{_HIDDEN_JOB_PREFIX}{uuid.uuid4().hex}"


def is_hidden_job(job_id: str) -> bool:
    """Return True if `hidden_job_id` made this id."""
    return job_id.startswith(_HIDDEN_JOB_PREFIX)


def _error_of(response: httpx.Response) -> BigQueryError:
    """Return the error of a response.

    The emulator answers 500 or more if it does not support a request. Clients would retry such a request for minutes,
    although the answer never changes, so it becomes an error that is not retried.
    """
    try:
        error = response.json()["error"]
        reason, message = error["errors"][0]["reason"], error["message"]
    except (ValueError, KeyError, IndexError):
        reason, message = "invalid", response.text[:1000]
    if response.status_code >= _SERVER_ERROR:
        return BigQueryError("invalidQuery", f"The emulator cannot do this: {message}", location="query")
    return BigQueryError(reason, message)
