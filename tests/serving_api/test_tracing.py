"""Traces, as a collector receives them."""

import asyncio
import gzip
import subprocess
import sys

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.http_server import http_server

pytestmark = pytest.mark.asyncio

LOOKUP = "GET /v1/models/{model}/predictions/{entity_id}"
READ = "google.bigtable.v2.Bigtable/ReadRows"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector:
    """Receives OTLP over HTTP."""

    def __init__(self):
        self.requests = []

    def answer(self, request):
        assert request.path == "/v1/traces"
        is_compressed = request.headers.get("Content-Encoding") == "gzip"
        body = gzip.decompress(request.body) if is_compressed else request.body
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        return 200, ExportTraceServiceResponse().SerializeToString(), {"Content-Type": "application/x-protobuf"}

    @property
    def resource(self):
        (attributes,) = {
            tuple(sorted(_attributes(spans.resource.attributes).items()))
            for request in self.requests
            for spans in request.resource_spans
        }
        return dict(attributes)

    def spans(self, name=None):
        found = [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        return [span for span in found if name in (None, span.name)]


@pytest.fixture
def collector(monkeypatch):
    """A collector that the environment variables name."""
    collector = Collector()
    with http_server(collector.answer) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        yield collector


def _attributes(pairs):
    def value(any_value):
        found = getattr(any_value, any_value.WhichOneof("value"))
        return tuple(v.string_value for v in found.values) if any_value.HasField("array_value") else found

    return {pair.key: value(pair.value) for pair in pairs}


@pytest.mark.http2_client  # Google's client does not tell its port
async def test_a_lookup_is_a_span_of_the_clients_trace_with_its_read_below(wire, serve, collector):
    headers = {"traceparent": f"00-{TRACE}-{SPAN}-01", "X-Request-Id": "r1"}
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", build="b7") as client:
        response = await client.get("/v1/models/m/predictions/secret", headers=headers)
        assert response.status_code == 200
        await client.get("/healthz", headers=headers)
        await client.get("/metrics", headers=headers)
    (request,) = collector.spans(LOOKUP)
    (read,) = collector.spans(READ)
    assert len(collector.spans()) == 2
    assert (request.trace_id.hex(), request.parent_span_id.hex()) == (TRACE, SPAN)
    assert (read.trace_id.hex(), read.parent_span_id) == (TRACE, request.span_id)
    assert (request.kind, read.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
    assert _attributes(request.attributes) == {
        "http.request.method": "GET",
        "http.route": "/v1/models/{model}/predictions/{entity_id}",
        "http.response.status_code": 200,
        "http.response.header.x-request-id": ("r1",),
    }
    read_attributes = _attributes(read.attributes)
    assert read_attributes.pop("network.local.port") > 0
    assert read_attributes == {
        "rpc.system": "grpc",
        "rpc.service": "google.bigtable.v2.Bigtable",
        "rpc.method": "ReadRows",
        "foreserve.read.keys": 1,
        "foreserve.read.hedged": False,
    }
    assert request.start_time_unix_nano <= read.start_time_unix_nano <= read.end_time_unix_nano
    assert {"service.name": "foreserve", "service.version": "b7"}.items() <= collector.resource.items()
    assert b"secret" not in b"".join(request.SerializeToString() for request in collector.requests)


async def test_a_shared_read_is_in_the_trace_of_each_request(wire, serve, collector):
    wire.hold(b"k0")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", max_keys_per_version=1) as client:
        first = asyncio.create_task(client.lookup("m", "k0"))
        await wire.saw(1)
        others = [asyncio.create_task(client.lookup("m", f"k{n}")) for n in range(1, 6)]
        batch = asyncio.create_task(client.batch("m", ["b1", "b2", "b3"]))
        await client.until_metric("foreserve_lookups_in_flight", 9)
        wire.release(b"k0")
        await asyncio.gather(first, batch, *others)
    shared = [read for read in collector.spans(READ) if _attributes(read.attributes)["foreserve.read.keys"] == 8]
    assert len(shared) == 6
    assert len({read.start_time_unix_nano for read in shared}) == 1
    requests = {span.span_id: span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER}
    assert len({read.parent_span_id for read in shared} & requests.keys()) == 6
    assert {requests[read.parent_span_id].trace_id == read.trace_id for read in shared} == {True}
    assert len(collector.spans("POST /v1/models/{model}/predictions:batchGet")) == 1


async def test_failures_are_errors_in_the_trace(wire, serve, collector):
    wire.failing[b"bad"] = grpc.StatusCode.UNAVAILABLE
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.lookup("m", "bad")).status_code == 503
        assert (await client.lookup("m", "absent")).status_code == 404
        assert (await client.get("/v1/nowhere")).status_code == 404
    failed, absent = collector.spans(LOOKUP)
    assert (failed.status.code, absent.status.code) == (Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET)
    read = collector.spans(READ)[0]
    assert read.status.code == Status.STATUS_CODE_ERROR
    assert {"error.type": "UNAVAILABLE", "foreserve.read.hedged": True}.items() <= _attributes(read.attributes).items()
    assert len(collector.spans("GET")) == 1


async def test_the_standard_variables_set_sampling_and_name(wire, serve, collector, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "ours")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for sampled in ("00", "01"):
            headers = {"traceparent": f"00-{TRACE}-{SPAN}-{sampled}"}
            assert (await client.get("/v1/models/m/predictions/a", headers=headers)).status_code == 200
        assert (await client.lookup("m", "a")).status_code == 200
    assert sorted(span.name for span in collector.spans()) == [LOOKUP, READ]
    assert collector.resource["service.name"] == "ours"


async def test_lookups_are_answered_while_the_collector_is_down(wire, serve, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for n in range(20):
            assert (await client.lookup("m", f"{n}")).status_code == 200


async def test_without_an_endpoint_opentelemetry_is_not_imported():
    script = """
import sys
from serving_api.app import create_app
from serving_api.settings import Settings
create_app(Settings(project="p", instance="i"))
assert "serving_api.telemetry.tracing" not in sys.modules
loaded = [name for name in sys.modules if name.startswith("opentelemetry.")]
assert not loaded, loaded
"""
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], check=True, timeout=60)
