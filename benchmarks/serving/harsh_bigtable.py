"""A Bigtable as harsh as Google's: `python -m benchmarks.serving.harsh_bigtable ADDRESS [options]`.

It forwards calls to the Bigtable at ADDRESS, and serves reads of keys as Google's Bigtable does: one key after the
other (https://github.com/googleapis/java-bigtable/issues/386), several rows in one message, with `date` and
`server-timing` headers that differ in each answer, and with the failures and delays that it is told to make. It speaks
HTTP/2 by itself, because gRPC's servers can neither reset streams nor refuse them. Its first line of output ends with
its own address.
"""

import asyncio
import base64
import random
import signal
import struct
import sys
from argparse import ArgumentParser
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Self, cast

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import RetryInfo
from hpack import Decoder

from prediction_store.layout import REGISTRY_TABLE
from prediction_store.messages import MutateRowsResponse, ReadRowsRequest, ReadRowsResponse

INTERNAL_ERROR, REFUSED_STREAM = 0x2, 0x7
"""Codes of resets (RFC 9113, section 7)."""

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM = _ACK = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
_HEADER_TABLE_SIZE, _MAX_CONCURRENT_STREAMS, _INITIAL_WINDOW_SIZE = 1, 3, 4
_PREFACE_BYTES, _FRAME_HEADER_BYTES, _MESSAGE_PREFIX_BYTES = 24, 9, 5
_FRAME_BYTES = 16_384
_WINDOW, _MAX_WINDOW = 65_535, 2**31 - 1
_MAX_STREAMS = 100  # of Google's front ends
_STATUS_200, _NO_DYNAMIC_TABLE = b"\x88", b"\x20"
_MAX_VALUE_BYTES = 126
_UPSTREAM = (("grpc.max_reconnect_backoff_ms", 500), ("grpc.initial_reconnect_backoff_ms", 100))
_UNAUTHENTICATED, _DEADLINE_EXCEEDED = 16, 4
_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


@dataclass(slots=True)
class Tablet:
    """A range of keys with troubles of its own.

    Attributes:
        start: the first key.
        end: the key behind the last one; None for no end.
        key_seconds: the time for each key.
        hot: keys of all reads are served one after the other, not only those of one read.
        stalled: no key is answered until the tablet is `released`.
    """

    start: bytes
    end: bytes | None = None
    key_seconds: float = 0.0
    hot: bool = False
    stalled: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)
    free_at: float = 0.0

    def __contains__(self, key: bytes) -> bool:
        return self.start <= key and (self.end is None or key < self.end)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error with which a call of the registry or a write ends.

    Attributes:
        code: the number of the gRPC status code.
        reason: the status message.
        retry_seconds: the time after which the client is told to try again; None if it is told nothing.
        is_late: the call is processed, but not answered.
    """

    code: int
    reason: str
    retry_seconds: float | None = None
    is_late: bool = False


@dataclass(kw_only=True)
class HarshBigtable:
    """A proxy to another Bigtable. Its attributes may be changed while it runs.

    Attributes:
        call_seconds: the time of each read of keys.
        key_seconds: the time for each key of a read, one after the other.
        rows_per_message: the largest number of rows in one message.
        slow_share: the share of reads that take `slow_seconds` more.
        tablets: ranges of keys with troubles of their own.
        token: the only access token that is accepted; None accepts every call.
        resets: HTTP/2 codes with which the next reads of keys are reset, before their first row.
        cut_streams: the number of the next reads of keys that end after half of their rows without a status.
        invalid_answers: the number of the next reads of keys in whose answers the keys of all rows are missing.
        failures: the errors of the next calls that are no reads of keys.
        partial_writes: the number of the next MutateRows calls in whose answers every other row failed.
        connection_seconds: the age at which connections are dropped; None keeps them.
        remembers: rows are read once from the other Bigtable, which saves CPU time in measurements.
        reads: the keys of all reads, and their app profiles.
    """

    upstream: grpc.aio.Channel
    call_seconds: float = 0.0
    key_seconds: float = 0.0
    rows_per_message: int = 8
    slow_share: float = 0.0
    slow_seconds: float = 0.0
    tablets: list[Tablet] = field(default_factory=list)
    token: str | None = None
    resets: deque[int] = field(default_factory=deque)
    cut_streams: int = 0
    invalid_answers: int = 0
    failures: deque[Failure] = field(default_factory=deque)
    partial_writes: int = 0
    connection_seconds: float | None = None
    remembers: bool = False
    reads: list[tuple[list[bytes], str]] = field(default_factory=list)
    connections: "set[_Connection]" = field(default_factory=set)
    accepted: int = 0
    """The number of connections that were ever opened."""
    old_answers: int = 0
    """The number of reads of the registry that were answered as a replica does that is behind."""
    _known: dict[tuple[bytes, bytes], bytes | None] = field(default_factory=dict)
    """The rows, serialized, by the request without keys and the key; None for an absent row."""
    _registry: dict[bytes, list[Any]] = field(default_factory=dict)
    _old_registry: dict[bytes, list[Any]] | None = None
    _old_profile: str = ""
    _chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311  the same in every run

    @classmethod
    @asynccontextmanager
    async def listening(cls, address: str, **attributes: Any) -> AsyncIterator[tuple[Self, int]]:
        """Yield a proxy to the Bigtable at an address, and its port."""
        async with grpc.aio.insecure_channel(address, options=_UPSTREAM) as upstream:
            proxy = cls(upstream=upstream, **attributes)
            server = await asyncio.get_running_loop().create_server(lambda: _Connection(proxy), "127.0.0.1", 0)
            try:
                yield proxy, server.sockets[0].getsockname()[1]
            finally:
                server.close()
                proxy.drop_connections()

    def drop_connections(self) -> None:
        """Close all connections without a word."""
        for connection in [*self.connections]:
            connection.drop()

    def go_away(self) -> None:
        """Announce on all connections that they close, and refuse the calls in flight without processing them."""
        for connection in [*self.connections]:
            connection.go_away()

    def fall_behind(self, app_profile: str = "") -> None:
        """Answer half of the reads of the registry by an app profile as before, as a replica does that is behind."""
        self._old_registry, self._old_profile = dict(self._registry), app_profile

    def catch_up(self) -> None:
        """Answer all reads of the registry as they are."""
        self._old_registry = None

    async def responses(self, path: str, request: bytes) -> AsyncIterator[bytes]:
        """Yield the messages that answer a call.

        Raises:
            grpc.aio.AioRpcError: the other Bigtable refused the call.
        """
        if not path.endswith("/ReadRows"):
            is_partial = path.endswith("/MutateRows") and self._take("partial_writes")
            async for message in self.upstream.unary_stream(path, None, None)(request):
                yield _with_failures(message) if is_partial else message
            return
        asked = ReadRowsRequest.FromString(request)
        if asked.table_name.endswith(f"/{REGISTRY_TABLE}"):
            for message in await self._registry_answer(path, request, asked.app_profile_id):
                yield message
        elif asked.rows.row_keys:
            async for message in self._rows(path, request, asked):
                yield message
        else:
            async for message in self.upstream.unary_stream(path, None, None)(request):
                yield message

    async def _registry_answer(self, path: str, request: bytes, app_profile: str) -> list[Any]:
        messages = [message async for message in self.upstream.unary_stream(path, None, None)(request)]
        self._registry[request] = messages
        if self._old_registry is None or app_profile != self._old_profile:
            return messages
        if self._chance.getrandbits(1):
            self.old_answers += 1
            return self._old_registry.get(request, messages)
        return messages

    async def _rows(self, path: str, request: bytes, asked: Any) -> AsyncIterator[bytes]:
        """Yield the rows as Bigtable does: in the order of the keys, each after the time that it takes."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self.call_seconds
        if self._chance.random() < self.slow_share:
            due += self.slow_seconds
        keys = sorted(set(asked.rows.row_keys))
        self.reads.append((keys, asked.app_profile_id))
        cut = len(keys) // 2 if self._take("cut_streams") else None
        invalid = self._take("invalid_answers")
        rows = await self._upstream_rows(path, request, asked, keys)
        ready: list[bytes] = []
        for number, (key, row) in enumerate(zip(keys, rows, strict=True)):
            if number == cut:
                await _until(due)
                yield b"".join(ready)
                raise _CutError
            tablet = next((tablet for tablet in self.tablets if key in tablet), None)
            if tablet and tablet.stalled and not tablet.released.is_set():
                await _until(due)
                yield b"".join(ready)
                ready = []
                await tablet.released.wait()
                due = loop.time()
            if tablet and tablet.hot:
                due = tablet.free_at = max(due, tablet.free_at) + tablet.key_seconds
            else:
                due += tablet.key_seconds if tablet else self.key_seconds
            if row is not None:
                ready.append(_without_key(row) if invalid else row)
            if len(ready) == self.rows_per_message:
                await _until(due)
                yield b"".join(ready)
                ready = []
        await _until(due)
        if ready:
            yield b"".join(ready)

    async def _upstream_rows(self, path: str, request: bytes, asked: Any, keys: list[bytes]) -> list[bytes | None]:
        """The rows of keys, each as a serialized response. Serialized responses may be joined."""
        asked.ClearField("rows")
        name = asked.SerializeToString()
        if self.remembers and all((name, key) in self._known for key in keys):
            return [self._known[name, key] for key in keys]
        call = self.upstream.unary_stream(path, None, ReadRowsResponse.FromString)
        rows = {
            row[0].row_key: ReadRowsResponse(chunks=row).SerializeToString()
            async for response in call(request)
            for row in _whole_rows(response)
        }
        found = [rows.get(key) for key in keys]
        if self.remembers:
            self._known.update(((name, key), row) for key, row in zip(keys, found, strict=True))
        return found

    def _take(self, counter: str) -> bool:
        left: int = getattr(self, counter)
        if left:
            setattr(self, counter, left - 1)
        return bool(left)


class _CutError(Exception):
    """The stream ends here, without a status."""


def _whole_rows(response: Any) -> Iterator[list[Any]]:
    """Split a response of an emulator, whose rows are whole, into the chunks of each row."""
    row: list[Any] = []
    for chunk in response.chunks:
        row.append(chunk)
        if chunk.commit_row:
            yield row
            row = []


def _without_key(row: bytes) -> bytes:
    response = ReadRowsResponse.FromString(row)
    response.chunks[0].row_key = b""
    serialized: bytes = response.SerializeToString()
    return serialized


def _with_failures(message: bytes) -> bytes:
    response = MutateRowsResponse.FromString(message)
    for entry in response.entries[::2]:
        entry.status.code = grpc.StatusCode.UNAVAILABLE.value[0]
    serialized: bytes = response.SerializeToString()
    return serialized


async def _until(due: float) -> None:
    if (left := due - asyncio.get_running_loop().time()) > 0:
        await asyncio.sleep(left)


@dataclass(slots=True, eq=False)
class _Stream:
    headers: dict[str, str]
    window: int
    body: bytes = b""
    task: "asyncio.Task[None] | None" = None


class _Connection(asyncio.Protocol):
    """A client's connection."""

    def __init__(self, proxy: HarshBigtable) -> None:
        self._proxy = proxy
        self._decoder = Decoder()
        self._streams: dict[int, _Stream] = {}
        self._data = b""
        self._preface = _PREFACE_BYTES
        self._block = b""
        self._windows_grew = asyncio.Event()
        self._window = _WINDOW
        self._stream_window = _WINDOW
        self._forgets_headers = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the settings of Google's front ends."""
        self._transport = cast("asyncio.Transport", transport)
        self._proxy.connections.add(self)
        self._proxy.accepted += 1
        settings = struct.pack(">HLHL", _MAX_CONCURRENT_STREAMS, _MAX_STREAMS, _INITIAL_WINDOW_SIZE, _MAX_WINDOW)
        self._send(_SETTINGS, 0, 0, settings)
        self._send(_WINDOW_UPDATE, 0, 0, struct.pack(">L", _MAX_WINDOW - _WINDOW))
        if self._proxy.connection_seconds is not None:
            asyncio.get_running_loop().call_later(self._proxy.connection_seconds, self.drop)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Stop the calls."""
        self._proxy.connections.discard(self)
        for number in [*self._streams]:
            self._cancel(number)

    def drop(self) -> None:
        """Close the connection without a word."""
        self._transport.abort()

    def go_away(self) -> None:
        """Announce the end of the connection, and refuse the calls in flight: their numbers are above the last one."""
        last = min(self._streams, default=_MAX_WINDOW + 1) - 1
        self._send(_GOAWAY, 0, 0, struct.pack(">LL", last, 0) + b"max_age")
        for number in [*self._streams]:
            self._cancel(number)

    def data_received(self, data: bytes) -> None:
        """Take frames."""
        self._data += data
        if self._preface:
            if len(self._data) < self._preface:
                return
            self._data, self._preface = self._data[self._preface :], 0
        while len(self._data) >= _FRAME_HEADER_BYTES:
            high, low, kind, flags, number = struct.unpack_from(">HBBBL", self._data)
            end = _FRAME_HEADER_BYTES + (high << 8 | low)
            if len(self._data) < end:
                return
            payload, self._data = self._data[_FRAME_HEADER_BYTES:end], self._data[end:]
            self._frame(kind, flags, number, payload)

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind in (_DATA, _HEADERS) and flags & (_PADDED | _PRIORITY):
            payload = _unpadded(kind, flags, payload)
        if kind in (_HEADERS, _CONTINUATION):
            self._take_headers(flags, number, payload)
        elif kind == _DATA and number in self._streams:
            stream = self._streams[number]
            stream.body += payload
            if flags & _END_STREAM:
                stream.task = asyncio.get_running_loop().create_task(self._answer(number, stream))
        elif kind == _RST_STREAM:
            self._cancel(number)
        elif kind == _SETTINGS and not flags & _ACK:
            self._take_settings(dict(struct.iter_unpack(">HL", payload)))
        elif kind == _PING and not flags & _ACK:
            self._send(_PING, _ACK, 0, payload)
        elif kind == _WINDOW_UPDATE:
            self._grow(number, int.from_bytes(payload, "big"))

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        self._block += payload
        if flags & _END_HEADERS:
            block, self._block = self._block, b""
            headers = cast("dict[str, str]", dict(self._decoder.decode(block)))
            self._streams[number] = _Stream(headers, self._stream_window)

    def _cancel(self, number: int) -> None:
        stream = self._streams.pop(number, None)
        if stream and stream.task:
            stream.task.cancel()

    def _take_settings(self, values: dict[int, int]) -> None:
        if values.get(_HEADER_TABLE_SIZE) == 0:
            self._forgets_headers = True
        if _INITIAL_WINDOW_SIZE in values:
            growth = values[_INITIAL_WINDOW_SIZE] - self._stream_window
            self._stream_window += growth
            for stream in self._streams.values():
                stream.window += growth
        self._send(_SETTINGS, _ACK, 0, b"")
        self._windows_grew.set()

    def _grow(self, number: int, size: int) -> None:
        if number == 0:
            self._window += size
        elif number in self._streams:
            self._streams[number].window += size
        self._windows_grew.set()

    async def _answer(self, number: int, stream: _Stream) -> None:
        """Answer a call."""
        proxy, headers = self._proxy, stream.headers
        path = headers[":path"]
        if proxy.token is not None and headers.get("authorization") != f"Bearer {proxy.token}":
            self._end(number, _UNAUTHENTICATED, "the access token is not valid", first=True)
            return
        reads_keys = path.endswith("/ReadRows") and _reads_keys(_message(stream))
        if reads_keys and proxy.resets:
            self._streams.pop(number, None)
            self._send(_RST_STREAM, 0, number, struct.pack(">L", proxy.resets.popleft()))
            return
        if proxy.failures and not reads_keys:
            await self._fail(number, stream, proxy.failures.popleft())
            return
        first, status, reason = True, 0, ""
        try:
            async with asyncio.timeout(_timeout(headers)):
                async for message in proxy.responses(path, _message(stream)):
                    if first:
                        self._send(_HEADERS, _END_HEADERS, number, self._first_headers())
                        first = False
                    await self._write(number, stream, b"\0" + struct.pack(">L", len(message)) + message)
        except TimeoutError:
            status, reason = _DEADLINE_EXCEEDED, "the deadline of the call has passed"
        except grpc.aio.AioRpcError as error:
            status, reason = error.code().value[0], error.details() or ""
        except _CutError:
            self._streams.pop(number, None)
            self._send(_DATA, _END_STREAM, number, b"")
            return
        self._end(number, status, reason, first=first)

    async def _fail(self, number: int, stream: _Stream, failure: Failure) -> None:
        if failure.is_late:
            with suppress(grpc.aio.AioRpcError):
                async for _ in self._proxy.responses(stream.headers[":path"], _message(stream)):
                    pass
        self._end(number, failure.code, failure.reason, first=True, retry_seconds=failure.retry_seconds)

    def _first_headers(self) -> bytes:
        timing = f"gfet4t7; dur={random.uniform(1, 99):.3f}"  # noqa: S311  differs in each answer
        fields = (("content-type", "application/grpc"), ("date", formatdate(usegmt=True)), ("server-timing", timing))
        return self._head() + b"".join(_field(*each) for each in fields)

    def _head(self) -> bytes:
        """The beginning of a first header block. The first one of a connection tells that there is no dynamic table."""
        update = _NO_DYNAMIC_TABLE if self._forgets_headers else b""
        self._forgets_headers = False
        return update + _STATUS_200

    def _end(self, number: int, status: int, reason: str, *, first: bool, retry_seconds: float | None = None) -> None:
        head = self._head() + _field("content-type", "application/grpc") if first else b""
        trailers = _field("grpc-status", str(status))
        if reason:
            trailers += _field("grpc-message", reason.encode("ascii", "replace")[:_MAX_VALUE_BYTES].decode())
        if retry_seconds is not None:
            info = RetryInfo()
            info.retry_delay.FromNanoseconds(int(retry_seconds * 1e9))
            trailers += _field("google.rpc.retryinfo-bin", base64.b64encode(info.SerializeToString()).decode())
        if self._streams.pop(number, None):
            self._send(_HEADERS, _END_HEADERS | _END_STREAM, number, head + trailers)

    async def _write(self, number: int, stream: _Stream, data: bytes) -> None:
        """Write DATA frames, as the windows of the client allow."""
        while data:
            size = min(len(data), _FRAME_BYTES, self._window, stream.window)
            if size > 0:
                part, data = data[:size], data[size:]
                self._window -= size
                stream.window -= size
                self._send(_DATA, 0, number, part)
            else:
                self._windows_grew.clear()
                await self._windows_grew.wait()

    def _send(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._transport.write(struct.pack(">HBBBL", size >> 8, size & 0xFF, kind, flags, number) + payload)


def _reads_keys(request: bytes) -> bool:
    """Return True if a ReadRows request reads keys of a table of predictions."""
    asked = ReadRowsRequest.FromString(request)
    return bool(asked.rows.row_keys) and not asked.table_name.endswith(f"/{REGISTRY_TABLE}")


def _message(stream: _Stream) -> bytes:
    return stream.body[_MESSAGE_PREFIX_BYTES:]


def _unpadded(kind: int, flags: int, payload: bytes) -> bytes:
    padding = payload[0] if flags & _PADDED else 0
    start = (1 if flags & _PADDED else 0) + (5 if kind == _HEADERS and flags & _PRIORITY else 0)
    return payload[start : len(payload) - padding]


def _timeout(headers: dict[str, str]) -> float | None:
    """The time in seconds that a call may take, from its header `grpc-timeout`."""
    value = headers.get("grpc-timeout")
    return float(value[:-1]) * _SECONDS[value[-1]] if value else None


def _field(name: str, value: str) -> bytes:
    """Encode a header field without an index (RFC 7541, section 6.2.2). Longer lengths take more than a byte."""
    encoded = value.encode()
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(encoded),)) + encoded


def _arguments() -> Any:
    parser = ArgumentParser(prog="python -m benchmarks.serving.harsh_bigtable", description=__doc__)
    parser.add_argument("address", help="the Bigtable that has the data, HOST:PORT")
    parser.add_argument("--call-ms", type=float, default=0.0, help="time of each read (default %(default)s)")
    parser.add_argument("--key-ms", type=float, default=0.0, help="time for each key of a read (default %(default)s)")
    parser.add_argument("--remember", action="store_true", help="read each row only once from the other Bigtable")
    parser.add_argument("--slow-share", type=float, default=0.0, help="share of slow reads (default %(default)s)")
    parser.add_argument("--slow-ms", type=float, default=0.0, help="more time of slow reads (default %(default)s)")
    return parser.parse_args()


async def _serve(arguments: Any) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with HarshBigtable.listening(
        arguments.address,
        call_seconds=arguments.call_ms / 1000,
        key_seconds=arguments.key_ms / 1000,
        remembers=arguments.remember,
        slow_share=arguments.slow_share,
        slow_seconds=arguments.slow_ms / 1000,
    ) as (_, port):
        sys.stdout.write(f"a harsh Bigtable at 127.0.0.1:{port}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
