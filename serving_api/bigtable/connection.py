"""One HTTP/2 connection, and the gRPC calls on it: one request message each, and a stream of messages in answer."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from hpack import Decoder, HPACKError

from serving_api.bigtable import frames
from serving_api.bigtable.status import CallError

_PREFIX_BYTES = 5  # of a gRPC message: whether it is compressed, and its size in four bytes
_MAX_HEADER_BYTES = 65_536
_PING_DATA = bytes(8)
_MAX_DECODED = 100
"""How many blocks of headers are remembered: almost all answers have the same two."""


class Call(Protocol):
    """What an answer goes to. Neither method may raise."""

    def received(self, messages: bytes) -> None:
        """Take one or more messages, end to end: of protobuf, that is the same as one message of all of them."""

    def ended(self, error: CallError | None) -> None:
        """Take note that the answer is complete, or has failed. Called once, and last."""


class Answer:
    """A call whose answer is wanted as a whole."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def received(self, messages: bytes) -> None:
        """Keep messages."""
        self._messages.append(messages)

    def ended(self, error: CallError | None) -> None:
        """Give what was kept to who waits."""
        if self._whole.done():
            return
        if error:
            self._whole.set_exception(error)
        else:
            self._whole.set_result(b"".join(self._messages))

    async def whole(self, timeout: float) -> bytes:  # noqa: ASYNC109  it is the time that a call may take
        """The messages of the answer.

        Raises:
            CallError: the call failed, or was not answered in `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._whole
        except TimeoutError:
            raise CallError("DEADLINE_EXCEEDED", f"no answer in {timeout:g} s") from None


class ConnectionClosedError(CallError):
    """The connection ended before the call did."""

    def __init__(self, reason: str) -> None:
        super().__init__("UNAVAILABLE", reason)


class Connection(asyncio.Protocol):
    """A connection. Usable from the moment it is made, until it is `draining`."""

    def __init__(self, on_draining: Callable[["Connection"], None]) -> None:
        """Call `on_draining` once no more calls can be made: it has ended, or will with the calls under way."""
        self.draining = False
        self.local_port: int | None = None
        """What tells it from others, if whoever made it knows."""
        self._on_draining = on_draining
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._queued: deque[tuple[Stream, bytes, bytes]] = deque()
        self._next_stream = 1
        self._max_streams = frames.MAX_STREAM
        self._max_frame_bytes = frames.DEFAULT_FRAME_BYTES
        self._stream_window = frames.DEFAULT_WINDOW
        self._send_window = frames.DEFAULT_WINDOW
        self._received = 0
        self._partial_frame = b""
        self._decoder = Decoder(max_header_list_size=_MAX_HEADER_BYTES)
        self._decoded: dict[bytes, dict[str, str]] = {}
        self._header_block: tuple[int, int, bytes] | None = None  # stream, flags, bytes that wait for a CONTINUATION
        self._pong: asyncio.Future[None] | None = None
        self._reason = "the connection was closed"

    @property
    def load(self) -> int:
        """How many calls are under way."""
        return len(self._streams) + len(self._queued)

    def call(self, head: bytes, message: bytes, call: Call) -> "Stream":
        """Make a call.

        Args:
            head: the header fields.
            message: the request.
            call: gets the answer.

        Raises:
            ConnectionClosedError: the connection is draining.
        """
        if self.draining or self._transport is None:
            raise ConnectionClosedError(self._reason)
        stream = Stream(self, call)
        if len(self._streams) < self._max_streams:
            self._start(stream, head, message)
        else:
            self._queued.append((stream, head, message))
        return stream

    def cancel(self, stream: "Stream") -> None:
        """Say that the answer of a call is not wanted any more."""
        if self._streams.pop(stream.number, None) is not None:
            self._write(frames.frame(frames.RST_STREAM, 0, stream.number, frames.CANCEL.to_bytes(4, "big")))
            self._after_a_call()

    def drain(self) -> None:
        """Make no more calls, and close once those under way have ended."""
        if not self.draining:
            self.draining = True
            self._on_draining(self)
        self._after_a_call()

    def abort(self, reason: str) -> None:
        """Close at once; the calls under way fail."""
        self._reason = reason
        self.drain()
        if self._transport:
            self._transport.abort()

    async def ping(self) -> None:
        """Ask for a sign of life, and wait for it."""
        if self._pong is None:
            self._pong = asyncio.get_running_loop().create_future()
            self._write(frames.frame(frames.PING, 0, 0, _PING_DATA))
        await asyncio.shield(self._pong)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the server. No limits on what it may send: what is asked for is bounded already."""
        self._transport = cast("asyncio.Transport", transport)
        ours = ((frames.HEADER_TABLE_SIZE, 0), (frames.ENABLE_PUSH, 0), (frames.INITIAL_WINDOW_SIZE, frames.MAX_WINDOW))
        grown = frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
        self._write(frames.PREFACE + frames.settings(ours) + grown)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls that are under way."""
        reason = f"{self._reason}: {exc}" if exc else self._reason
        self._transport = None
        streams = [*self._streams.values(), *(stream for stream, _, _ in self._queued)]
        self._streams.clear()
        self._queued.clear()
        for stream in streams:
            stream.end(ConnectionClosedError(reason))
        if self._pong and not self._pong.done():
            self._pong.set_exception(ConnectionClosedError(reason))
            self._pong.exception()  # it may be that nobody waits for it
        self.drain()

    def data_received(self, data: bytes) -> None:
        """Take frames: all messages of a call that came at once are handed over at once."""
        if self._partial_frame:
            data = self._partial_frame + data
        position, end = 0, len(data)
        unpack, streams = frames.HEADER.unpack_from, self._streams
        touched: dict[int, Stream] = {}
        try:
            while end - position >= frames.HEADER_BYTES:
                high, low, kind, flags, number = unpack(data, position)
                start = position + frames.HEADER_BYTES
                following = start + (high << 8 | low)
                if following > end:
                    break
                position = following
                if kind == frames.DATA:
                    self._received += following - start
                    stream = streams.get(number)
                    if stream is None:  # cancelled
                        continue
                    payload = data[start:following]
                    stream.take(frames.unpadded(flags, payload) if flags & frames.PADDED else payload)
                    touched[number] = stream
                    if flags & frames.END_STREAM:
                        self._end(number, CallError("INTERNAL", "the answer ended without a status"))
                else:
                    self._control(kind, flags, number & frames.MAX_STREAM, data[start:following])
        except (ValueError, IndexError, HPACKError) as error:
            self.abort(f"the server broke the protocol: {error}")
        self._partial_frame = data[position:]
        for stream in touched.values():
            stream.hand_over()
        if self._received >= frames.MAX_WINDOW // 2:
            self._write(frames.window_update(0, self._received))
            self._received = 0

    # The frames but for DATA.

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind in (frames.HEADERS, frames.CONTINUATION):
            self._on_headers(kind, flags, number, payload)
        elif kind == frames.RST_STREAM:
            self._end(number, CallError.from_reset(int.from_bytes(payload, "big")))
        elif kind == frames.WINDOW_UPDATE:
            self._on_window(number, int.from_bytes(payload, "big") & frames.MAX_WINDOW)
        elif kind == frames.SETTINGS and not flags & frames.ACK:
            self._on_settings(frames.parse_settings(payload))
        elif kind == frames.PING:
            if not flags & frames.ACK:
                self._write(frames.frame(frames.PING, frames.ACK, 0, payload))
            elif self._pong:
                self._pong.set_result(None)
                self._pong = None
        elif kind == frames.GOAWAY:
            self._on_goaway(int.from_bytes(payload[:4], "big"), payload[8:].decode(errors="replace"))

    def _on_headers(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Decode the headers of any stream, as the decoder must see all; the last ones of a stream end it."""
        if kind == frames.HEADERS:
            first_flags, block = flags, frames.unpadded(flags, payload)
        elif self._header_block is None or self._header_block[0] != number:
            raise ValueError("a CONTINUATION frame without headers before it")
        else:
            first_flags, block = self._header_block[1], self._header_block[2] + payload
        if len(block) > _MAX_HEADER_BYTES:
            raise ValueError(f"more than {_MAX_HEADER_BYTES} bytes of headers")
        if not flags & frames.END_HEADERS:
            self._header_block = (number, first_flags, block)
            return
        self._header_block = None
        headers = self._decoded.get(block) or self._decode(block)
        if first_flags & frames.END_STREAM:
            self._end(number, CallError.from_trailers(headers))
        elif headers.get(":status", "200") != "200":  # not gRPC's: what follows is a page for people
            stream = self._streams.get(number)
            if stream:
                call, error = stream.call, CallError.from_trailers(headers)
                stream.cancel()
                if call:
                    call.ended(error)

    def _decode(self, block: bytes) -> dict[str, str]:
        """The fields of a block, which are the same for the same bytes once nothing refers to earlier blocks."""
        headers = cast("dict[str, str]", dict(self._decoder.decode(block)))  # text, unless asked for bytes
        if self._decoder.header_table_size == 0 and len(self._decoded) < _MAX_DECODED:
            self._decoded[block] = headers
        return headers

    def _on_settings(self, values: dict[int, int]) -> None:
        self._max_streams = values.get(frames.MAX_CONCURRENT_STREAMS, self._max_streams)
        self._max_frame_bytes = values.get(frames.MAX_FRAME_SIZE, self._max_frame_bytes)
        if frames.INITIAL_WINDOW_SIZE in values:
            growth = values[frames.INITIAL_WINDOW_SIZE] - self._stream_window
            self._stream_window += growth
            for stream in self._streams.values():
                stream.window += growth
        self._write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        self._send_rest()
        self._start_queued()

    def _on_window(self, number: int, increment: int) -> None:
        if number == 0:
            self._send_window += increment
        elif number in self._streams:
            self._streams[number].window += increment
        self._send_rest()

    def _on_goaway(self, last: int, reason: str) -> None:
        """Finish what the server still answers; what it does not, fails."""
        self._reason = f"the server is going away {reason}".rstrip()
        for number in [n for n in self._streams if n > last]:
            self._end(number, ConnectionClosedError(self._reason))
        while self._queued:
            self._queued.popleft()[0].end(ConnectionClosedError(self._reason))
        self.drain()

    # Streams.

    def _start(self, stream: "Stream", head: bytes, message: bytes) -> None:
        number = stream.number = self._next_stream
        self._next_stream += 2
        stream.window = self._stream_window
        self._streams[number] = stream
        size = len(message) + _PREFIX_BYTES
        body = b"\0" + len(message).to_bytes(4, "big") + message
        headers = frames.frame(frames.HEADERS, frames.END_HEADERS, number, head)
        if size <= self._max_frame_bytes and size <= self._send_window and size <= stream.window:
            self._send_window -= size
            self._write(headers + frames.frame(frames.DATA, frames.END_STREAM, number, body))
        else:
            self._write(headers)
            stream.unsent = body
            self._send_rest()
        if self._next_stream > frames.MAX_STREAM:
            self.drain()

    def _start_queued(self) -> None:
        while self._queued and len(self._streams) < self._max_streams:
            stream, head, message = self._queued.popleft()
            if stream.call:
                self._start(stream, head, message)

    def _send_rest(self) -> None:
        """Send of the requests that did not fit what the server's windows let through now."""
        for number, stream in self._streams.items():
            while stream.unsent:
                size = min(len(stream.unsent), self._max_frame_bytes, self._send_window, stream.window)
                if size <= 0:
                    break
                part, stream.unsent = stream.unsent[:size], stream.unsent[size:]
                self._send_window -= size
                stream.window -= size
                self._write(frames.frame(frames.DATA, 0 if stream.unsent else frames.END_STREAM, number, part))

    def _end(self, number: int, error: CallError | None) -> None:
        stream = self._streams.pop(number, None)
        if stream is None:
            return
        stream.end(error)
        self._after_a_call()

    def _after_a_call(self) -> None:
        self._start_queued()
        if self.draining and not self.load and self._transport:
            self._transport.close()

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)


class Stream:
    """A call under way, and what of its messages has come."""

    __slots__ = ("_have", "_messages", "_need", "_parts", "call", "connection", "number", "unsent", "window")

    def __init__(self, connection: Connection, call: Call) -> None:
        self.connection = connection
        self.call: Call | None = call  # None: cancelled
        self.number = 0
        self.unsent = b""
        self.window = 0
        self._messages: list[bytes] = []
        self._parts: list[bytes] = []  # of a message that is not complete, `_have` of `_need` bytes
        self._have = 0
        self._need = 0

    def cancel(self) -> None:
        """Give the call up: its `Call` hears nothing more. Without effect on one that has ended."""
        self.call = None
        self.connection.cancel(self)

    def take(self, payload: bytes) -> None:
        """Take a piece of the answer.

        Raises:
            ValueError: it is compressed, which was not asked for.
        """
        if self._have:
            self._parts.append(payload)
            self._have += len(payload)
            if self._have < self._need:
                return
            payload = b"".join(self._parts)
            self._parts, self._have = [], 0
        position, size, self._need = 0, len(payload), _PREFIX_BYTES
        while size - position >= _PREFIX_BYTES:
            start = position + _PREFIX_BYTES
            following = start + int.from_bytes(payload[position + 1 : start], "big")
            if payload[position]:
                raise ValueError("a compressed message, which was not asked for")
            if following > size:
                self._need = following - position
                break
            self._messages.append(payload[start:following])
            position = following
        if position < size:
            self._parts, self._have = [payload[position:]], size - position

    def hand_over(self) -> None:
        """Hand the messages that are complete to the call."""
        if self._messages:
            messages, self._messages = self._messages, []
            if self.call:
                self.call.received(messages[0] if len(messages) == 1 else b"".join(messages))

    def end(self, error: CallError | None) -> None:
        """Hand over what is left, and say that this was all."""
        self.hand_over()
        call, self.call = self.call, None
        if call:
            if error is None and self._have:
                error = CallError("INTERNAL", "the answer ended within a message")
            call.ended(error)
