"""A pool of connections to Bigtable: opened before they are needed, replaced before Bigtable closes them."""

import asyncio
import random
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from functools import partial
from operator import attrgetter
from platform import python_version
from typing import Self

import structlog
from google.api_core.gapic_v1.routing_header import to_grpc_metadata
from google.auth.exceptions import GoogleAuthError
from google.protobuf.message import DecodeError

from prediction_store.connection import routing_metadata
from prediction_store.layout import Instance
from prediction_store.messages import (
    Cell,
    CellAssembler,
    FeatureFlags,
    InvalidAnswerError,
    PingAndWarmRequest,
    ReadRowsResponse,
    RowAssembler,
)
from serving_api.bigtable.client import RowReceiver
from serving_api.bigtable.http2.connection import Answer, Call, Connection, ConnectionClosedError, Stream
from serving_api.bigtable.http2.frames import header_field
from serving_api.bigtable.status import CallError
from serving_api.bigtable.target import Credentials, Target, refresh
from serving_api.supervisor import Supervisor
from serving_api.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_SERVICE = "/google.bigtable.v2.Bigtable/"

_USER_AGENT = "foreserve"
"""The name of the client in Google's logs. Ask support for calls with it."""

_FEATURES = urlsafe_b64encode(FeatureFlags(last_scanned_row_responses=True).SerializeToString()).decode()
"""The features of answers that the client understands."""

_OPEN_SECONDS = 5.0
_WARM_SECONDS = 5.0
_TOKEN_SECONDS = 15.0

_RETRY_SECONDS = (0.1, 1.0)
"""The pause before the first retry of a failed connection, and the longest pause before later ones."""

_MAX_AGE_SECONDS = (30 * 60.0, 45 * 60.0)
"""The range from which the age at which a connection is replaced is drawn. Bigtable closes it after about an hour."""

_PING_SECONDS = 30.0
_PONG_SECONDS = 10.0

_load = attrgetter("load")


class Channel:
    """Calls of Bigtable's data API, for one instance and app profile."""

    def __init__(self, target: Target, instance: Instance, app_profile: str, metrics: Metrics) -> None:
        """Prepare a channel without connections; see `open`."""
        self._target = target
        self._instance = instance
        self._app_profile = app_profile
        self._metrics = metrics
        self._ready: list[Connection] = []
        self._heads: dict[tuple[str, str], bytes] = {}
        """The header fields of ReadRows by table and app profile, without deadline and token."""
        self._authorization = b""
        self._refused = asyncio.Event()
        """Is set when Bigtable refuses the access token."""
        self._failure: str | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls, target: Target, instance: Instance, app_profile: str, size: int, metrics: Metrics
    ) -> AsyncIterator[Self]:
        """Yield a channel, once every connection is ready or has failed for the first time.

        Args:
            target: the address of Bigtable.
            instance: the instance that has the tables.
            app_profile: the app profile of the calls; the default one if it is empty.
            size: the number of connections to keep.
            metrics: counts connections.
        """
        channel = cls(target, instance, app_profile, metrics)
        async with Supervisor(metrics) as tasks:
            if target.credentials:
                authorized = asyncio.Event()
                tasks.start("access token", partial(channel._keep_authorized, target.credentials, authorized))
                await authorized.wait()
            tried = [asyncio.Event() for _ in range(size)]
            for event in tried:
                tasks.start("connection", partial(channel._keep_connected, event))
            for event in tried:
                await event.wait()
            yield channel
            for connection in [*channel._ready]:
                connection.abort("the service stops")

    @property
    def is_connected(self) -> bool:
        """Return True if a connection is ready."""
        return bool(self._ready)

    def read_rows(
        self,
        table: str,
        request: bytes,
        timeout: float,
        receiver: RowReceiver,
        avoid: Hashable | None = None,
        app_profile: str | None = None,
    ) -> "RowsCall":
        """Start to read rows, as in `BigtableClient`.

        Raises:
            CallError: no connection is ready.
        """
        call = RowsCall(receiver, self.note_failure)
        call.stream = self._read(table, request, timeout, call, avoid, app_profile)
        return call

    async def read_cells(self, table: str, request: bytes, timeout: float) -> list[tuple[bytes, list[Cell]]]:  # noqa: ASYNC109  the time that a call may take
        """Read all cells of rows, as in `BigtableClient`.

        Raises:
            CallError: the read failed, or did not end in time.
        """
        answer = Answer()
        stream = self._read(table, request, timeout, answer)
        assembler = CellAssembler()
        try:
            rows = assembler.feed(ReadRowsResponse.FromString(await answer.whole(timeout)))
            assembler.finish()
        except CallError as error:
            self.note_failure(error)
            raise
        except (DecodeError, InvalidAnswerError) as error:
            raise _invalid(error) from None
        finally:
            # The server may still be at work: the time is over, or nobody waits any more.
            stream.cancel()
        return rows

    def _read(
        self,
        table: str,
        request: bytes,
        timeout: float,
        call: Call,
        avoid: Hashable | None = None,
        app_profile: str | None = None,
    ) -> Stream:
        """Call ReadRows.

        Raises:
            CallError: no connection is ready.
        """
        profile = self._app_profile if app_profile is None else app_profile
        head = self._heads.get((table, profile))
        if head is None:
            head = self._heads[table, profile] = self._head("ReadRows", routing_metadata(table, profile))
        return self._pick(avoid).call(self._with_timeout(head, timeout), request, call)

    def _pick(self, avoid: Hashable | None) -> Connection:
        """The connection with the fewest calls in flight."""
        ready = self._ready
        if not ready:
            raise CallError("UNAVAILABLE", self._failure or "not connected")
        if len(ready) > 1 and avoid is not None:
            ready = [connection for connection in ready if connection is not avoid]
        return min(ready, key=_load)

    def _with_timeout(self, head: bytes, timeout: float) -> bytes:
        return head + header_field("grpc-timeout", f"{max(1, round(timeout * 1000))}m") + self._authorization

    def _head(self, method: str, routing: tuple[str, str]) -> bytes:
        fields = (
            (":method", "POST"),
            (":scheme", "https" if self._target.tls else "http"),
            (":path", _SERVICE + method),
            (":authority", self._target.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", _USER_AGENT),
            ("x-goog-api-client", f"gl-python/{python_version()} gccl/{_USER_AGENT}"),
            ("bigtable-features", _FEATURES),
            routing,
        )
        return b"".join(header_field(*field) for field in fields)

    async def _keep_connected(self, tried: asyncio.Event) -> None:
        """Keep one connection ready: replace it when it fails, and before it is too old.

        Args:
            tried: is set when the first connection is ready or has failed.
        """
        pause, longest = _RETRY_SECONDS
        current: Connection | None = None
        try:
            while True:
                ended = asyncio.Event()
                try:
                    new = await self._connect(ended)
                except (OSError, CallError) as error:
                    self._metrics.connection_failures.inc()
                    self._note(str(error) or type(error).__name__)
                    tried.set()
                    await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  spreads attempts; no secret
                    pause = min(2 * pause, longest)
                    continue
                pause = _RETRY_SECONDS[0]
                self._note(None)
                self._ready.append(new)
                self._metrics.connections_ready.inc()
                self._metrics.connections_opened.inc()
                if current:
                    self._forget(current)
                    current.drain()
                current = new
                tried.set()
                await self._watch(current, ended)
        finally:
            tried.set()
            if current:
                current.drain()

    async def _connect(self, ended: asyncio.Event) -> Connection:
        """Open a connection and warm it. `ended` is set when it takes no more calls.

        Raises:
            OSError: it was not opened in time, or at all.
            CallError: it was closed at once.
        """

        def on_draining(connection: Connection) -> None:
            self._forget(connection)
            ended.set()

        loop, target = asyncio.get_running_loop(), self._target
        async with asyncio.timeout(_OPEN_SECONDS):
            opened = await target.open_socket()
            transport, connection = await loop.create_connection(
                lambda: Connection(on_draining),
                sock=opened,
                ssl=target.tls,
                server_hostname=target.host if target.tls else None,
            )
        try:
            # There is no name if the server has closed the connection already.
            _, connection.local_port, *_ = transport.get_extra_info("sockname") or (None, None)
            if target.tls:
                _check_protocol(transport.get_extra_info("ssl_object"))
            await self._warm(connection)
        except BaseException:
            connection.abort("the connection could not be warmed")
            raise
        return connection

    async def _warm(self, connection: Connection) -> None:
        """Call PingAndWarm, so that the first lookup does not pay for what Bigtable does once per connection.

        Raises:
            CallError: the connection is of no use.
        """
        name = self._instance.name
        routing = to_grpc_metadata((("name", name), ("app_profile_id", self._app_profile)))
        request = PingAndWarmRequest(name=name, app_profile_id=self._app_profile).SerializeToString()
        answer = Answer()
        connection.call(self._with_timeout(self._head("PingAndWarm", routing), _WARM_SECONDS), request, answer)
        try:
            await answer.whole(_WARM_SECONDS)
        except CallError as error:
            self.note_failure(error)
            if isinstance(error, ConnectionClosedError) or error.code == "DEADLINE_EXCEEDED":
                raise
            # Emulators answer UNIMPLEMENTED.
            if error.code != "UNIMPLEMENTED":
                _log.warning("a connection could not be warmed", code=error.code, reason=error.reason)
        if connection.draining:
            raise ConnectionClosedError("the connection was closed as soon as it was warm")

    async def _watch(self, connection: Connection, ended: asyncio.Event) -> None:
        """Wait until a connection must be replaced, and ping it from time to time."""
        loop = asyncio.get_running_loop()
        replace_at = loop.time() + random.uniform(*_MAX_AGE_SECONDS)  # noqa: S311  spreads attempts; no secret
        while loop.time() < replace_at:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PING_SECONDS):
                    await ended.wait()
                    return
            try:
                async with asyncio.timeout(_PONG_SECONDS):
                    await connection.ping()
            except (TimeoutError, CallError):
                connection.abort(f"no answer to a ping in {_PONG_SECONDS:g} s")
                return

    def _forget(self, connection: Connection) -> None:
        if connection in self._ready:
            self._ready.remove(connection)
            self._metrics.connections_ready.dec()

    async def _keep_authorized(self, credentials: Credentials, authorized: asyncio.Event) -> None:
        """Get access tokens: before they expire, and at once when Bigtable refuses one, but not more than one a second.

        Args:
            credentials: the source of tokens.
            authorized: is set after the first attempt.
        """
        while True:
            self._refused.clear()
            try:
                seconds = await self._authorize(credentials)
            finally:
                authorized.set()
            await asyncio.sleep(_RETRY_SECONDS[1])
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds - _RETRY_SECONDS[1]):
                    await self._refused.wait()

    async def _authorize(self, credentials: Credentials) -> float:
        """Get an access token. Return the number of seconds after which to get the next one."""
        try:
            async with asyncio.timeout(_TOKEN_SECONDS):
                seconds = await refresh(credentials)
        except (GoogleAuthError, TimeoutError) as error:
            _log.error("no access token", reason=str(error) or f"no answer in {_TOKEN_SECONDS:g} s")
            return _RETRY_SECONDS[1]
        self._authorization = header_field("authorization", f"Bearer {credentials.token}")
        return seconds

    def note_failure(self, error: CallError) -> None:
        """Take the failure of a call. If Bigtable refused the access token, another one is fetched."""
        if error.code == "UNAUTHENTICATED":
            self._refused.set()

    def _note(self, failure: str | None) -> None:
        """Log when connecting begins to fail, and when it succeeds again."""
        if failure and not self._failure:
            _log.error("cannot connect to Bigtable", host=self._target.authority, reason=failure)
        elif self._failure and not failure:
            _log.info("connected to Bigtable again")
        self._failure = failure


class RowsCall:
    """A call of ReadRows: gives the rows in its messages to a receiver."""

    __slots__ = ("_assembler", "_note_failure", "_receiver", "stream")

    stream: Stream

    def __init__(self, receiver: RowReceiver, note_failure: Callable[[CallError], None]) -> None:
        """Read for a receiver. `note_failure` is called if Bigtable ends the call with an error."""
        self._receiver = receiver
        self._note_failure = note_failure
        self._assembler = RowAssembler()

    @property
    def connection(self) -> Connection:
        """The connection of the call."""
        return self.stream.connection

    @property
    def local_port(self) -> int | None:
        """The local port of the connection."""
        return self.stream.connection.local_port

    def cancel(self) -> None:
        """Cancel the call."""
        self.stream.cancel()

    def received(self, messages: bytes) -> None:
        """Take messages. If they are invalid, cancel the call: its rows cannot be trusted."""
        try:
            rows = self._assembler.feed(ReadRowsResponse.FromString(messages))
        except (DecodeError, InvalidAnswerError) as error:
            self.stream.cancel()
            self._receiver.ended(self, _invalid(error))
        else:
            self._receiver.received(self, rows)

    def ended(self, error: CallError | None) -> None:
        """Check that no row is incomplete, and end the read."""
        if error is None:
            try:
                self._assembler.finish()
            except InvalidAnswerError as invalid:
                error = _invalid(invalid)
        else:
            self._note_failure(error)
        self._receiver.ended(self, error)


def _invalid(error: Exception) -> CallError:
    return CallError("INTERNAL", f"an invalid answer to ReadRows: {error}")


def _check_protocol(tls: ssl.SSLObject) -> None:
    """Check that the server has chosen HTTP/2.

    Raises:
        ConnectionClosedError: it does not speak HTTP/2.
    """
    if tls.selected_alpn_protocol() != "h2":
        raise ConnectionClosedError("the server does not speak HTTP/2")
