"""A connection, tested with gRPC's own server, and with a server that a test plays byte by byte."""

import asyncio
import contextlib
import struct
from contextlib import asynccontextmanager

import grpc
import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_api.bigtable.http2 import frames
from serving_api.bigtable.http2.connection import Answer, Connection, ConnectionClosedError
from serving_api.bigtable.http2.frames import frame, header_field
from serving_api.bigtable.status import CallError

WAIT = 5.0


def head(method="Echo"):
    fields = ((":method", "POST"), (":scheme", "http"), (":path", f"/test/{method}"), (":authority", "localhost"))
    return b"".join(header_field(*f) for f in (*fields, ("te", "trailers"), ("content-type", "application/grpc")))


async def messages(request, _context):
    """Answer `N:SIZE` with N messages of that size."""
    number, size = map(int, request.split(b":")[:2])
    for n in range(number):
        yield b"%d" % (n % 10) * size


async def refuse(_request, context):
    yield b"one"
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you, ä")


async def hold(_request, context):
    yield b"first"
    await asyncio.sleep(60)


async def length(request, _context):
    yield b"%d" % len(request)


@asynccontextmanager
async def grpc_server(**options):
    """Run gRPC's own server; yields its port."""
    server = grpc.aio.server(options=list(options.items()))
    methods = {"Echo": messages, "Refuse": refuse, "Hold": hold, "Length": length}
    handlers = {name: grpc.unary_stream_rpc_method_handler(method) for name, method in methods.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(grace=None)


@asynccontextmanager
async def connected(port):
    drained = []
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(drained.append), "127.0.0.1", port
    )
    try:
        yield connection
    finally:
        connection.abort("the test is over")
        await asyncio.sleep(0)
        assert drained == [connection]


async def ask(connection, request, method="Echo"):
    answer = Answer()
    connection.call(head(method), request, answer)
    return await answer.whole(WAIT)


@pytest.mark.asyncio
@pytest.mark.parametrize(("number", "size"), [(0, 0), (1, 0), (3, 1), (500, 40), (3, 70_000), (2, 3_000_000)])
async def test_answers_arrive_whole(number, size):
    async with grpc_server() as port, connected(port) as connection:
        expected = b"".join(b"%d" % (n % 10) * size for n in range(number))
        assert await ask(connection, b"%d:%d" % (number, size)) == expected
        assert connection.load == 0


@pytest.mark.asyncio
async def test_calls_do_not_disturb_each_other():
    async with grpc_server() as port, connected(port) as connection:
        requests = [b"%d:%d" % (n % 7, n) for n in range(200)]
        answers = await asyncio.gather(*(ask(connection, request) for request in requests))
        assert [len(answer) for answer in answers] == [n % 7 * n for n in range(200)]


@pytest.mark.asyncio
async def test_requests_that_exceed_the_servers_windows_wait_for_them():
    async with grpc_server() as port, connected(port) as connection:
        sizes = [10, 4_000_000, 70_000, 100, 300_000]
        answers = await asyncio.gather(*(ask(connection, bytes(size), "Length") for size in sizes))
        assert [int(answer) for answer in answers] == sizes


@pytest.mark.asyncio
async def test_a_failure_ends_a_call_and_leaves_the_others():
    async with grpc_server() as port, connected(port) as connection:
        with pytest.raises(CallError) as caught:
            await ask(connection, b"", "Refuse")
        assert (caught.value.code, caught.value.reason) == ("PERMISSION_DENIED", "not you, ä")
        with pytest.raises(CallError) as caught:
            await ask(connection, b"", "Missing")
        assert caught.value.code == "UNIMPLEMENTED"
        assert await ask(connection, b"1:1") == b"0"


@pytest.mark.asyncio
async def test_a_cancelled_call_receives_nothing_more():
    heard = []
    first = asyncio.Event()

    class Recorder:
        def received(self, messages):
            heard.append(messages)
            first.set()

        def ended(self, error):
            heard.append(error)

    async with grpc_server() as port, connected(port) as connection:
        stream = connection.call(head("Hold"), b"", Recorder())
        await first.wait()
        stream.cancel()
        stream.cancel()
        assert connection.load == 0
        assert await ask(connection, b"1:1") == b"0"
        assert heard == [b"first"]


@pytest.mark.asyncio
async def test_a_connection_that_is_lost_fails_its_calls_and_takes_no_more():
    async with grpc_server() as port, connected(port) as connection:
        answer = Answer()
        connection.call(head("Hold"), b"", answer)
        connection.abort("no answer to a ping")
        with pytest.raises(ConnectionClosedError, match="no answer to a ping"):
            await answer.whole(WAIT)
        with pytest.raises(ConnectionClosedError, match="no answer to a ping"):
            connection.call(head(), b"1:1", Answer())


@pytest.mark.asyncio
async def test_pings_are_acknowledged():
    async with grpc_server() as port, connected(port) as connection:
        async with asyncio.timeout(WAIT):
            await asyncio.gather(connection.ping(), connection.ping())
            await connection.ping()


class Played:
    """A connection whose server the test plays: it records what is written, and `send` gives it bytes."""

    def __init__(self):
        self.written = b""
        self.closed = False
        self.encoder = Encoder()
        self.drained = []
        self.connection = Connection(self.drained.append)
        self.connection.connection_made(self)
        self.written = b""

    def write(self, data):
        self.written += data

    def close(self):
        self.closed = True

    def abort(self):
        self.closed = True

    def frames(self):
        """The frames written since the last call, as (type, flags, stream, payload)."""
        data, self.written = self.written, b""
        found = []
        while data:
            high, low, kind, flags, stream = frames.HEADER.unpack_from(data)
            end = 9 + (high << 8 | low)
            found.append((kind, flags, stream, data[9:end]))
            data = data[end:]
        return found

    def headers(self, stream, fields, *, last):
        flags = frames.END_HEADERS | (frames.END_STREAM if last else 0)
        return frame(frames.HEADERS, flags, stream, self.encoder.encode(fields))

    def send(self, data):
        self.connection.data_received(data)


def message(payload):
    return b"\0" + struct.pack(">L", len(payload)) + payload


@settings(deadline=None)
@given(
    answers=st.lists(st.lists(st.binary(max_size=60), max_size=6), min_size=1, max_size=4),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=10),
    frame_bytes=st.integers(1, 50),
    order=st.randoms(use_true_random=False),
)
def test_the_messages_do_not_depend_on_how_the_bytes_are_cut(answers, cuts, frame_bytes, order):
    """Messages are cut into frames, the frames of all calls are mixed, and the bytes arrive in pieces."""

    async def main():
        played = Played()
        calls = [Answer() for _ in answers]
        for call in calls:
            played.connection.call(head(), b"", call)
        queues = []
        for number, payloads in enumerate(answers):
            stream = 2 * number + 1
            body = b"".join(message(payload) for payload in payloads)
            parts = [body[i : i + frame_bytes] for i in range(0, len(body), frame_bytes)]
            queues.append([lambda s=stream: played.headers(s, [(":status", "200")], last=False)])
            queues[-1] += [lambda s=stream, p=part: frame(frames.DATA, 0, s, p) for part in parts]
            queues[-1].append(lambda s=stream: played.headers(s, [("grpc-status", "0")], last=True))
        sent = b""
        while queues:
            queue = order.choice(queues)
            sent += queue.pop(0)()
            if not queue:
                queues.remove(queue)
        while sent:
            for cut in cuts:
                played.send(sent[:cut])
                sent = sent[cut:]
        for payloads, call in zip(answers, calls, strict=True):
            assert await call.whole(WAIT) == b"".join(payloads)

    asyncio.run(main())


@pytest.mark.asyncio
async def test_goaway_fails_only_the_calls_that_the_server_will_not_answer():
    played = Played()
    first, second = Answer(), Answer()
    played.connection.call(head(), b"", first)
    played.connection.call(head(), b"", second)
    played.send(frame(frames.GOAWAY, 0, 0, struct.pack(">LL", 1, 0) + b"max_age"))
    assert played.drained == [played.connection]
    with pytest.raises(ConnectionClosedError, match="going away max_age"):
        await second.whole(WAIT)
    with pytest.raises(ConnectionClosedError):
        played.connection.call(head(), b"", Answer())
    assert not played.closed
    played.send(played.headers(1, [(":status", "200")], last=False) + frame(frames.DATA, 0, 1, message(b"done")))
    played.send(played.headers(1, [("grpc-status", "0")], last=True))
    assert await first.whole(WAIT) == b"done"
    assert played.closed


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        *((frame(frames.RST_STREAM, 0, 1, code.to_bytes(4, "big")), "UNAVAILABLE") for code in (0, 2, 5, 7)),
        (frame(frames.RST_STREAM, 0, 1, (1).to_bytes(4, "big")), "INTERNAL"),
        (frame(frames.RST_STREAM, 0, 1, (8).to_bytes(4, "big")), "CANCELLED"),
        (frame(frames.DATA, frames.END_STREAM, 1, message(b"x")), "UNAVAILABLE"),
    ],
)
async def test_an_answer_that_breaks_off_is_a_failure(sent, code):
    played = Played()
    answer = Answer()
    played.connection.call(head(), b"", answer)
    played.send(sent)
    with pytest.raises(CallError) as caught:
        await answer.whole(WAIT)
    assert caught.value.code == code


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("Received RST_STREAM with error code 2", "UNAVAILABLE"),
        ("Received Rst Stream", "UNAVAILABLE"),
        ("Received unexpected EOS on DATA frame from server", "UNAVAILABLE"),
        ("stream closed before write could take place", "UNAVAILABLE"),
        ("Authentication backend internal server error. Please retry.", "UNAVAILABLE"),
        ("Row is broken", "INTERNAL"),
    ],
)
async def test_a_reset_that_a_proxy_reports_as_an_internal_error_is_transient(reason, code):
    played = Played()
    answer = Answer()
    played.connection.call(head(), b"", answer)
    played.send(played.headers(1, [("grpc-status", "13"), ("grpc-message", reason.replace(" ", "%20"))], last=True))
    with pytest.raises(CallError) as caught:
        await answer.whole(WAIT)
    assert (caught.value.code, caught.value.reason) == (code, reason)


class Repeated:
    """A call that is repeated at once when it fails, if the connection takes it."""

    def __init__(self, connection):
        self._connection = connection
        self.errors = []

    def received(self, messages):
        raise AssertionError(messages)

    def ended(self, error):
        self.errors.append(error)
        with contextlib.suppress(ConnectionClosedError):
            self._connection.call(head(), b"", self)


@pytest.mark.asyncio
@pytest.mark.parametrize("loss", ["goaway", "lost"])
async def test_a_call_that_failed_is_not_repeated_on_the_connection_that_goes_away(loss):
    played = Played()
    played.send(frame(frames.SETTINGS, 0, 0, struct.pack(">HL", frames.MAX_CONCURRENT_STREAMS, 2)))
    answered, refused, queued = Answer(), Repeated(played.connection), Repeated(played.connection)
    for call in (answered, refused, queued):
        played.connection.call(head(), b"", call)
    if loss == "goaway":
        played.send(frame(frames.GOAWAY, 0, 0, struct.pack(">LL", 1, 0)))
    else:
        played.connection.connection_lost(None)
    assert [error.unprocessed for error in refused.errors] == [loss == "goaway"]
    assert [error.unprocessed for error in queued.errors] == [True]
    assert played.connection.load == (1 if loss == "goaway" else 0)


@pytest.mark.asyncio
async def test_headers_that_never_come_again_are_not_remembered():
    played = Played()
    played.encoder.header_table_size = 0
    for n in range(150):
        answer = Answer()
        played.connection.call(head(), b"", answer)
        timing = f"gfet4t7; dur={n}"
        stream = 2 * n + 1
        played.send(played.headers(stream, [(":status", "200"), ("server-timing", timing)], last=False))
        played.send(frame(frames.DATA, 0, stream, message(b"x")))
        played.send(played.headers(stream, [("grpc-status", "0")], last=True))
        assert await answer.whole(WAIT) == b"x"
    assert len(played.connection._decoded) <= 2


@pytest.mark.asyncio
async def test_trailers_that_differ_are_forgotten_after_a_while():
    played = Played()
    played.encoder.header_table_size = 0
    for n in range(250):
        answer = Answer()
        played.connection.call(head(), b"", answer)
        played.send(played.headers(2 * n + 1, [("grpc-status", "14"), ("grpc-message", f"{n}")], last=True))
        with pytest.raises(CallError, match=f"{n}"):
            await answer.whole(WAIT)
    assert len(played.connection._decoded) <= 100


@pytest.mark.asyncio
async def test_an_answer_that_ends_within_a_message_is_a_failure():
    played = Played()
    answer = Answer()
    played.connection.call(head(), b"", answer)
    played.send(played.headers(1, [(":status", "200")], last=False) + frame(frames.DATA, 0, 1, message(b"whole")[:7]))
    played.send(played.headers(1, [("grpc-status", "0")], last=True))
    with pytest.raises(CallError, match="ended within a message"):
        await answer.whole(WAIT)


@pytest.mark.asyncio
async def test_an_answer_that_is_not_grpc_is_a_failure_at_once():
    played = Played()
    answer = Answer()
    played.connection.call(head(), b"", answer)
    played.frames()
    played.send(played.headers(1, [(":status", "502"), ("content-type", "text/html")], last=False))
    with pytest.raises(CallError, match="UNAVAILABLE: HTTP status 502"):
        await answer.whole(WAIT)
    assert [kind for kind, *_ in played.frames()] == [frames.RST_STREAM]
    # The body is ignored.
    played.send(frame(frames.DATA, 0, 1, b"<html>"))


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "sent",
    [
        frame(frames.DATA, 0, 1, b"\x01" + message(b"compressed")[1:]),
        frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff\xff\xff"),
        frame(frames.CONTINUATION, frames.END_HEADERS, 1, b""),
        frame(frames.HEADERS, frames.END_HEADERS | frames.PADDED, 1, b"\x30"),
    ],
)
async def test_a_connection_to_a_server_that_breaks_the_protocol_is_closed(sent):
    played = Played()
    answer = Answer()
    played.connection.call(head(), b"", answer)
    played.send(sent)
    assert played.closed
    assert played.drained == [played.connection]
    played.connection.connection_lost(None)
    with pytest.raises(ConnectionClosedError, match="the server broke the protocol"):
        await answer.whole(WAIT)


@pytest.mark.asyncio
async def test_headers_may_arrive_in_several_frames():
    played = Played()
    answer = Answer()
    played.connection.call(head(), b"", answer)
    block = played.encoder.encode([("grpc-status", "14"), ("grpc-message", "later")])
    played.send(frame(frames.HEADERS, frames.END_STREAM, 1, block[:3]))
    played.send(
        frame(frames.CONTINUATION, 0, 1, block[3:5]) + frame(frames.CONTINUATION, frames.END_HEADERS, 1, block[5:])
    )
    with pytest.raises(CallError, match="UNAVAILABLE: later"):
        await answer.whole(WAIT)


@pytest.mark.asyncio
async def test_the_servers_settings_and_pings_are_answered():
    played = Played()
    played.send(frame(frames.SETTINGS, 0, 0, struct.pack(">HL", frames.MAX_FRAME_SIZE, 20_000)))
    played.send(frame(frames.PING, 0, 0, b"12345678"))
    assert played.frames() == [
        (frames.SETTINGS, frames.ACK, 0, b""),
        (frames.PING, frames.ACK, 0, b"12345678"),
    ]


@pytest.mark.asyncio
async def test_calls_above_the_servers_limit_wait():
    played = Played()
    played.send(frame(frames.SETTINGS, 0, 0, struct.pack(">HL", frames.MAX_CONCURRENT_STREAMS, 2)))
    answers = [Answer() for _ in range(5)]
    streams = [played.connection.call(head(), b"", answer) for answer in answers]
    assert played.connection.load == 5
    assert {stream for kind, _, stream, _ in played.frames() if kind == frames.HEADERS} == {1, 3}
    # The third call waits.
    streams[2].cancel()
    played.send(played.headers(1, [("grpc-status", "0")], last=True))
    assert await answers[0].whole(WAIT) == b""
    assert {stream for kind, _, stream, _ in played.frames() if kind == frames.HEADERS} == {5}
    streams[1].cancel()
    assert {stream for kind, _, stream, _ in played.frames() if kind == frames.HEADERS} == {7}
    assert played.connection.load == 2


@pytest.mark.asyncio
async def test_the_receive_window_is_extended():
    played = Played()
    played.connection._received = 2**30
    played.send(frame(frames.DATA, 0, 99, bytes(10)))
    assert played.frames() == [(frames.WINDOW_UPDATE, 0, 0, (2**30 + 10).to_bytes(4, "big"))]


@pytest.mark.asyncio
async def test_nothing_is_sent_beyond_the_servers_windows():
    played = Played()
    played.connection.call(head(), bytes(100_000), Answer())
    sent = sum(len(payload) for kind, _, _, payload in played.frames() if kind == frames.DATA)
    assert sent == frames.DEFAULT_WINDOW
    played.send(frames.window_update(0, 1_000))
    assert played.frames() == []
    played.send(frames.window_update(1, 500))
    assert [len(payload) for _, _, _, payload in played.frames()] == [500]
    played.send(frames.window_update(1, 10**6) + frames.window_update(0, 10**6))
    rest = [(flags, len(payload)) for kind, flags, _, payload in played.frames() if kind == frames.DATA]
    assert sum(size for _, size in rest) == 100_005 - frames.DEFAULT_WINDOW - 500
    assert [flags for flags, _ in rest][-1] == frames.END_STREAM
