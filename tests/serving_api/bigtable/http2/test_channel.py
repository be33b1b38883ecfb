"""The pool of connections: warmed, replaced, with TLS and with access tokens that are renewed."""

import asyncio
import base64
import itertools
import re
import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.oauth2 import service_account

from prediction_store import messages
from prediction_store.layout import Instance
from serving_api.bigtable import CallError, Channel, Target
from serving_api.bigtable import target as targets
from serving_api.bigtable.http2 import frames
from serving_api.telemetry.metrics import Metrics
from tests.http_server import http_server
from tests.service_account import service_account_key
from tests.waiting import eventually

INSTANCE = Instance("p", "i")
TABLE = INSTANCE.table("things")
REQUEST = messages.ReadRowsRequest(table_name=TABLE).SerializeToString()
ROW = messages.ReadRowsResponse(
    chunks=[{"row_key": b"z", "family_name": {"value": "m"}, "qualifier": {"value": b"p"}, "commit_row": True}]
)
WAIT = 5.0


class Server:
    """A server that records the requests and headers of its calls."""

    def __init__(self):
        self.warmed = []
        self.reads = []

    async def ping_and_warm(self, request, context):
        self.warmed.append((request, dict(context.invocation_metadata())))
        return b""

    async def read_rows(self, request, context):
        self.reads.append((request, dict(context.invocation_metadata())))
        yield ROW

    @asynccontextmanager
    async def listening(self, port=0, credentials=None):
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        handlers = {
            "PingAndWarm": grpc.unary_unary_rpc_method_handler(
                self.ping_and_warm, messages.PingAndWarmRequest.FromString, bytes
            ),
            "ReadRows": grpc.unary_stream_rpc_method_handler(
                self.read_rows, messages.ReadRowsRequest.FromString, messages.ReadRowsResponse.SerializeToString
            ),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("google.bigtable.v2.Bigtable", handlers),)
        )
        address = f"127.0.0.1:{port}"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        await server.start()
        try:
            yield port
        finally:
            await server.stop(grace=None)


class Rows:
    """Receives the rows of a read. The result of `all` is all of them."""

    def __init__(self):
        self._rows = []
        self.all = asyncio.get_running_loop().create_future()

    def received(self, _read, rows):
        self._rows += rows

    def ended(self, _read, error):
        if error:
            self.all.set_exception(error)
        else:
            self.all.set_result(self._rows)


async def read(channel):
    ((key, _),) = await channel.read_cells(TABLE, REQUEST, 2.5)
    return key


async def read_until_it_fails(channel):
    async with asyncio.timeout(WAIT):
        while True:
            await read(channel)


async def until_read(channel):
    async def answer():
        with suppress(CallError):
            return await read(channel)

    return await eventually(answer, WAIT)


@pytest.mark.asyncio
async def test_connections_are_warmed_and_calls_have_routing_headers():
    server = Server()
    async with (
        server.listening() as port,
        Channel.open(Target("127.0.0.1", port), INSTANCE, "serving", 3, Metrics()) as channel,
    ):
        assert len(server.warmed) == 3
        assert await read(channel) == b"z"
    request, headers = server.warmed[0]
    assert (request.name, request.app_profile_id) == (INSTANCE.name, "serving")
    _, headers = server.reads[0]
    assert headers["x-goog-request-params"] == "table_name=projects/p/instances/i/tables/things&app_profile_id=serving"
    assert headers["user-agent"] == "foreserve"
    assert re.fullmatch(r"gl-python/3\.\d+\.\d+ gccl/foreserve", headers["x-goog-api-client"])
    flags = messages.FeatureFlags.FromString(base64.urlsafe_b64decode(headers["bigtable-features"]))
    assert flags == messages.FeatureFlags(last_scanned_row_responses=True)
    assert "authorization" not in headers


@pytest.mark.asyncio
async def test_a_call_may_use_another_app_profile():
    server = Server()
    async with (
        server.listening() as port,
        Channel.open(Target("127.0.0.1", port), INSTANCE, "near", 1, Metrics()) as channel,
    ):
        for profile in ("far", None, "far"):
            rows = Rows()
            channel.read_rows(TABLE, REQUEST, 2.5, rows, app_profile=profile)
            await rows.all
    sent = [headers["x-goog-request-params"].rpartition("=")[2] for _, headers in server.reads]
    assert sent == ["far", "near", "far"]


@pytest.mark.asyncio
async def test_calls_have_a_deadline():
    server = Server()
    left = []

    async def read_rows(request, context):
        left.append(context.time_remaining())
        yield ROW

    server.read_rows = read_rows
    async with (
        server.listening() as port,
        Channel.open(Target("127.0.0.1", port), INSTANCE, "", 1, Metrics()) as channel,
    ):
        await read(channel)
    assert 0 < left[0] <= 2.5


@pytest.mark.asyncio
async def test_a_read_that_nobody_waits_for_any_more_ends_on_the_server():
    server = Server()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def read_rows(request, context):
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        yield ROW

    server.read_rows = read_rows
    async with (
        server.listening() as port,
        Channel.open(Target("127.0.0.1", port), INSTANCE, "", 1, Metrics()) as channel,
        asyncio.timeout(WAIT),
    ):
        reading = asyncio.create_task(channel.read_cells(TABLE, REQUEST, 60))
        await begun.wait()
        reading.cancel()
        await ended.wait()


@pytest.mark.asyncio
async def test_a_connection_that_closes_as_soon_as_it_is_warm_is_not_used():
    async def close_after_warming(reader, writer):
        await reader.readexactly(len(frames.PREFACE))
        kind = None
        while kind != frames.DATA:
            high, low, kind, *_ = frames.HEADER.unpack(await reader.readexactly(frames.HEADER_BYTES))
            await reader.readexactly(high << 8 | low)
        ok = frames.header_field(":status", "200") + frames.header_field("grpc-status", "0")
        answer = frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, 1, ok)
        writer.write(answer + frames.frame(frames.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(close_after_warming, "127.0.0.1", 0) as server:
        target = Target("127.0.0.1", server.sockets[0].getsockname()[1])
        async with Channel.open(target, INSTANCE, "", 1, Metrics()) as channel:
            assert not channel.is_connected
            with pytest.raises(CallError, match="as soon as it was warm"):
                await read(channel)


@pytest.mark.asyncio
async def test_the_channel_reconnects_to_a_restarted_server():
    server = Server()
    async with AsyncExitStack() as stack:
        async with server.listening() as port:
            channel = await stack.enter_async_context(
                Channel.open(Target("127.0.0.1", port), INSTANCE, "", 2, Metrics())
            )
            assert await read(channel) == b"z"
        with pytest.raises(CallError, match="UNAVAILABLE"):
            await read_until_it_fails(channel)
        await stack.enter_async_context(server.listening(port))
        assert await until_read(channel) == b"z"


@pytest.mark.asyncio
async def test_the_channel_connects_to_a_server_that_starts_later():
    server = Server()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with Channel.open(Target("127.0.0.1", port), INSTANCE, "", 1, Metrics()) as channel:
        with pytest.raises(CallError, match="UNAVAILABLE"):
            await read(channel)
        async with server.listening(port):
            assert await until_read(channel) == b"z"


@pytest.mark.asyncio
async def test_a_connection_is_replaced_before_it_is_too_old(monkeypatch):
    monkeypatch.setattr("serving_api.bigtable.http2.channel._MAX_AGE_SECONDS", (0.05, 0.1))
    monkeypatch.setattr("serving_api.bigtable.http2.channel._PING_SECONDS", 0.02)
    server = Server()
    async with (
        server.listening() as port,
        Channel.open(Target("127.0.0.1", port), INSTANCE, "", 1, Metrics()) as channel,
    ):
        async with asyncio.timeout(WAIT):
            # No call fails during three replacements.
            while len(server.warmed) < 4:
                assert await read(channel) == b"z"


@pytest.mark.asyncio
async def test_a_connection_to_a_silent_server_is_closed(monkeypatch):
    monkeypatch.setattr("serving_api.bigtable.http2.channel._PING_SECONDS", 0.05)
    monkeypatch.setattr("serving_api.bigtable.http2.channel._PONG_SECONDS", 0.2)
    server = Server()
    silent = asyncio.Event()

    async def relay(reader, writer, target_port):
        there, back = await asyncio.open_connection("127.0.0.1", target_port)

        async def pump(source, sink):
            while data := await source.read(65_536):
                if silent.is_set():
                    await asyncio.sleep(60)
                sink.write(data)

        await asyncio.gather(pump(reader, back), pump(there, writer))

    async with server.listening() as port:
        proxy = await asyncio.start_server(lambda r, w: relay(r, w, port), "127.0.0.1", 0)
        target = Target("127.0.0.1", proxy.sockets[0].getsockname()[1])
        async with Channel.open(target, INSTANCE, "", 1, Metrics()) as channel:
            assert await read(channel) == b"z"
            silent.set()
            rows = Rows()
            channel.read_rows(TABLE, REQUEST, 10, rows)
            with pytest.raises(CallError, match=r"no answer to a ping in 0.2 s"):
                await rows.all
        proxy.close()


@contextmanager
def certificate(tmp_path):
    """A certificate of localhost; yields its file, and gRPC's credentials for a server."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    path = tmp_path / "ca.pem"
    path.write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    yield path, grpc.ssl_server_credentials([(private, pem)])


@contextmanager
def token_server(seconds):
    """A stand-in for Google's token endpoint, whose tokens are valid for `seconds`; yields its URL."""
    given = itertools.count()

    def answer(_):
        return {"access_token": f"token-{next(given)}", "expires_in": seconds, "token_type": "Bearer"}

    with http_server(answer) as url:
        yield f"{url}/token"


def credentials_of(token_uri):
    info = service_account_key(token_uri)
    return service_account.Credentials.from_service_account_info(info, scopes=["x"])


@pytest.mark.asyncio
async def test_calls_use_tls_and_an_access_token_that_is_renewed(tmp_path):
    server = Server()
    with certificate(tmp_path) as (ca, server_credentials), token_server(2) as token_uri:
        async with server.listening(credentials=server_credentials) as port:
            target = Target("localhost", port, targets.tls_context(str(ca)), credentials_of(token_uri))
            async with Channel.open(target, INSTANCE, "", 1, Metrics()) as channel:
                assert await read(channel) == b"z"
                assert server.reads[-1][1]["authorization"] == "Bearer token-0"

                async def is_renewed():
                    await read(channel)
                    return server.reads[-1][1]["authorization"] != "Bearer token-0"

                await eventually(is_renewed, WAIT)
                assert server.reads[-1][1]["authorization"] == "Bearer token-1"
                assert server.warmed[0][1]["authorization"] == "Bearer token-0"


@pytest.mark.asyncio
async def test_a_token_that_bigtable_refuses_is_replaced_at_once(tmp_path):
    server = Server()
    accepted = "Bearer token-0"
    read_rows = server.read_rows

    async def read_with_a_good_token(request, context):
        if dict(context.invocation_metadata())["authorization"] != accepted:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "revoked")
        async for row in read_rows(request, context):
            yield row

    server.read_rows = read_with_a_good_token
    with certificate(tmp_path) as (ca, server_credentials), token_server(3600) as token_uri:
        async with server.listening(credentials=server_credentials) as port:
            target = Target("localhost", port, targets.tls_context(str(ca)), credentials_of(token_uri))
            async with Channel.open(target, INSTANCE, "", 1, Metrics()) as channel:
                assert await read(channel) == b"z"
                accepted = "Bearer token-1"
                with pytest.raises(CallError, match="UNAUTHENTICATED: revoked"):
                    await read(channel)
                assert await until_read(channel) == b"z"


@pytest.mark.asyncio
async def test_a_connection_that_fails_unexpectedly_is_opened_again(monkeypatch):
    monkeypatch.setattr("serving_api.supervisor._PAUSE_SECONDS", (0.01, 0.02))
    server, metrics = Server(), Metrics()
    failures = iter([TypeError("a bug"), KeyError("another")])
    warm = Channel._warm

    async def fail_twice(channel, connection):
        for failure in failures:
            raise failure
        await warm(channel, connection)

    monkeypatch.setattr(Channel, "_warm", fail_twice)
    async with (
        server.listening() as port,
        Channel.open(Target("127.0.0.1", port), INSTANCE, "", 1, metrics) as channel,
    ):
        assert await until_read(channel) == b"z"
    assert b'foreserve_task_failures_total{task="connection"} 2.0' in metrics.exposition()


@pytest.mark.asyncio
async def test_a_server_without_a_trusted_certificate_gets_no_call(tmp_path):
    server = Server()
    with certificate(tmp_path) as (_, server_credentials):
        async with server.listening(credentials=server_credentials) as port:
            target = Target("localhost", port, targets.tls_context())
            async with Channel.open(target, INSTANCE, "", 1, Metrics()) as channel:
                with pytest.raises(CallError, match=r"UNAVAILABLE.*certificate verify failed"):
                    await read(channel)
    assert server.warmed == []
