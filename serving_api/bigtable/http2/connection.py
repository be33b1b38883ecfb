"""An HTTP/2 connection and the gRPC calls on it. A call has one request message and a stream of response messages."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from hpack import Decoder, HPACKError

from serving_api.bigtable.http2 import frames
from serving_api.bigtable.status import CallError

_PREFIX_BYTES = 5
"""The size of the prefix of a gRPC message: a flag for compression, and the size of the message in four bytes."""

_MAX_HEADER_BYTES = 65_536
_PING_DATA = bytes(8)
_STATUS_200 = 0x88
"""The first byte of a header block that begins with `:status: 200` (RFC 7541, appendix A)."""

_MAX_DECODED = 100
"""The number of decoded trailers to remember. Almost all answers have the same."""


class Call(Protocol):
    """The receiver of an answer. Its methods must not raise."""

    def received(self, messages: bytes) -> None:
        """Take one or more concatenated messages. Concatenated protobuf messages are parsed as one merged message."""

    def ended(self, error: CallError | None) -> None:
        """Handle the end of the call: complete, or failed with `error`. Called once, as the last method."""


class Answer:
    """A call whose answer is awaited as a whole."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._whole: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def received(self, messages: bytes) -> None:
        """Keep the messages."""
        self._messages.append(messages)

    def ended(self, error: CallError | None) -> None:
        """Set the result of `whole`."""
        if self._whole.done():
            return
        if error:
            self._whole.set_exception(error)
        else:
            self._whole.set_result(b"".join(self._messages))

    async def whole(self, timeout: float) -> bytes:  # noqa: ASYNC109  the time that a call may take
        """Wait for the concatenated messages of the answer.

        Raises:
            CallError: the call failed, or did not end in `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._whole
        except TimeoutError:
            raise CallError("DEADLINE_EXCEEDED", f"no answer in {timeout:g} s") from None


class ConnectionClosedError(CallError):
    """The connection was closed before the call ended."""

    def __init__(self, reason: str, *, unprocessed: bool = False) -> None:
        super().__init__("UNAVAILABLE", reason, unprocessed=unprocessed)


class Connection(asyncio.Protocol):
    """A connection. It takes calls until it is `draining`."""

    def __init__(self, on_draining: Callable[["Connection"], None]) -> None:
        """Create a connection. `on_draining` is called once, when it takes no more calls."""
        self.draining = False
        self.local_port: int | None = None
        """The local port, which tells the connections of a process apart; None until it is set after connecting."""
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
        self._header_block: tuple[int, int, bytes] | None = None
        """The stream, the flags and the bytes of a header block that waits for a CONTINUATION frame."""
        self._pong: asyncio.Future[None] | None = None
        self._reason = "the connection was closed"

    @property
    def load(self) -> int:
        """The number of calls in flight."""
        return len(self._streams) + len(self._queued)

    def call(self, head: bytes, message: bytes, call: Call) -> "Stream":
        """Start a call.

        Args:
            head: the encoded header fields.
            message: the request message.
            call: receives the answer.

        Raises:
            ConnectionClosedError: the connection takes no more calls.
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
        """Reset the stream of a call."""
        if self._streams.pop(stream.number, None) is not None:
            self._write(frames.frame(frames.RST_STREAM, 0, stream.number, frames.CANCEL.to_bytes(4, "big")))
            self._after_a_call()

    def drain(self) -> None:
        """Take no more calls, and close when those in flight have ended."""
        if not self.draining:
            self.draining = True
            self._on_draining(self)
        self._after_a_call()

    def abort(self, reason: str) -> None:
        """Close at once. The calls in flight fail with `reason`."""
        self._reason = reason
        self.drain()
        if self._transport:
            self._transport.abort()

    async def ping(self) -> None:
        """Send a PING frame and wait for its acknowledgement."""
        if self._pong is None:
            self._pong = asyncio.get_running_loop().create_future()
            self._write(frames.frame(frames.PING, 0, 0, _PING_DATA))
        await asyncio.shield(self._pong)

    # Methods that asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface, with the largest receive windows: the requests limit the size of the answers."""
        self._transport = cast("asyncio.Transport", transport)
        ours = ((frames.HEADER_TABLE_SIZE, 0), (frames.ENABLE_PUSH, 0), (frames.INITIAL_WINDOW_SIZE, frames.MAX_WINDOW))
        grown = frames.window_update(0, frames.MAX_WINDOW - frames.DEFAULT_WINDOW)
        self._write(frames.PREFACE + frames.settings(ours) + grown)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls in flight."""
        reason = f"{self._reason}: {exc}" if exc else self._reason
        self._transport = None
        sent, unsent = [*self._streams.values()], self._take_queued()
        self._streams.clear()
        # Before the calls fail, as their receivers repeat them on another connection.
        self.drain()
        for stream in sent:
            stream.end(ConnectionClosedError(reason))
        for stream in unsent:
            stream.end(ConnectionClosedError(reason, unprocessed=True))
        if self._pong and not self._pong.done():
            self._pong.set_exception(ConnectionClosedError(reason))
            # Marks the exception as retrieved, as no task may be waiting for it.
            self._pong.exception()

    def data_received(self, data: bytes) -> None:
        """Take frames. The messages of a call that arrived together are delivered together."""
        if self._partial_frame:
            data = self._partial_frame + data
        position, end = 0, len(data)
        unpack, streams = frames.HEADER.unpack_from, self._streams
        touched: dict[int, Stream] = {}
        try:
            while end - position >= frames.HEADER_BYTES:
                high, low, kind, flags, number = unpack(data, position)
                start = position + frames.HEADER_BYTES
                frame_end = start + (high << 8 | low)
                if frame_end > end:
                    break
                position = frame_end
                if kind == frames.DATA:
                    self._received += frame_end - start
                    stream = streams.get(number)
                    if stream is None:
                        # The call was cancelled.
                        continue
                    payload = data[start:frame_end]
                    stream.feed(frames.unpadded(flags, payload) if flags & frames.PADDED else payload)
                    touched[number] = stream
                    if flags & frames.END_STREAM:
                        self._end(number, CallError("UNAVAILABLE", "the answer ended without a status"))
                else:
                    self._control(kind, flags, number & frames.MAX_STREAM, data[start:frame_end])
        except (ValueError, IndexError, HPACKError) as error:
            self.abort(f"the server broke the protocol: {error}")
        self._partial_frame = data[position:]
        for stream in touched.values():
            stream.deliver()
        if self._received >= frames.MAX_WINDOW // 2:
            self._write(frames.window_update(0, self._received))
            self._received = 0

    # Frames other than DATA.

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
        """Take the headers of any stream. The last headers of a stream end its call."""
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
        if first_flags & frames.END_STREAM:
            self._end(number, CallError.from_trailers(self._decoded.get(block) or self._decode_trailers(block)))
            return
        # The first headers differ in each answer, by their times. Nothing in them is needed besides the status. The
        # decoder must see all blocks as long as there is a dynamic table.
        if block[0] == _STATUS_200 and self._decoder.header_table_size == 0:
            return
        headers = self._decode(block)
        if headers.get(":status", "200") != "200":
            # This is not an answer of gRPC: the body is an HTML page, for example of a proxy.
            stream = self._streams.get(number)
            if stream:
                call, error = stream.call, CallError.from_trailers(headers)
                stream.cancel()
                if call:
                    call.ended(error)

    def _decode(self, block: bytes) -> dict[str, str]:
        """Decode a header block. The fields are strings because `raw` is not set."""
        return cast("dict[str, str]", dict(self._decoder.decode(block)))

    def _decode_trailers(self, block: bytes) -> dict[str, str]:
        """Decode trailers, and remember the fields: without a dynamic table, equal blocks have equal fields."""
        headers = self._decode(block)
        if self._decoder.header_table_size == 0:
            if len(self._decoded) == _MAX_DECODED:
                self._decoded.clear()
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
        """Fail the calls that the server will not answer, and drain."""
        self._reason = f"the server is going away {reason}".rstrip()
        refused = [self._streams.pop(number) for number in [n for n in self._streams if n > last]]
        refused += self._take_queued()
        # Before the calls fail, as their receivers repeat them on another connection.
        self.drain()
        for stream in refused:
            stream.end(ConnectionClosedError(self._reason, unprocessed=True))

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

    def _take_queued(self) -> list["Stream"]:
        """Remove and return the calls that have not been sent."""
        streams = [stream for stream, _, _ in self._queued]
        self._queued.clear()
        return streams

    def _start_queued(self) -> None:
        while self._queued and len(self._streams) < self._max_streams:
            stream, head, message = self._queued.popleft()
            if stream.call:
                self._start(stream, head, message)

    def _send_rest(self) -> None:
        """Send as much of the unsent requests as the server's windows allow."""
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
    """A call in flight, and the messages that have arrived."""

    __slots__ = ("_have", "_messages", "_need", "_parts", "call", "connection", "number", "unsent", "window")

    def __init__(self, connection: Connection, call: Call) -> None:
        self.connection = connection
        self.call: Call | None = call
        """The receiver of the answer; None after the call has ended or was cancelled."""
        self.number = 0
        self.unsent = b""
        self.window = 0
        self._messages: list[bytes] = []
        self._parts: list[bytes] = []
        """Parts of an incomplete message, which has `_have` of `_need` bytes."""
        self._have = 0
        self._need = 0

    def cancel(self) -> None:
        """Cancel the call. Its receiver is not called any more. Without effect if the call has ended."""
        self.call = None
        self.connection.cancel(self)

    def feed(self, payload: bytes) -> None:
        """Take the payload of a DATA frame.

        Raises:
            ValueError: a message is compressed, although the request allowed no compression.
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
            message_end = start + int.from_bytes(payload[position + 1 : start], "big")
            if payload[position]:
                raise ValueError("a compressed message, although no compression was allowed")
            if message_end > size:
                self._need = message_end - position
                break
            self._messages.append(payload[start:message_end])
            position = message_end
        if position < size:
            self._parts, self._have = [payload[position:]], size - position

    def deliver(self) -> None:
        """Give the complete messages to the receiver."""
        if self._messages:
            messages, self._messages = self._messages, []
            if self.call:
                self.call.received(messages[0] if len(messages) == 1 else b"".join(messages))

    def end(self, error: CallError | None) -> None:
        """Give the remaining messages and the end of the call to the receiver."""
        self.deliver()
        call, self.call = self.call, None
        if call:
            if error is None and self._have:
                error = CallError("INTERNAL", "the answer ended within a message")
            call.ended(error)
