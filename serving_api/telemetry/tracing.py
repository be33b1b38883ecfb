"""Traces with OpenTelemetry: a span for each request, and a child span for the Bigtable read that it waited for.

This module is imported only if the environment names an endpoint for traces. The variables of OpenTelemetry's
specification set the endpoint (OTLP over HTTP) and the sampling. No span contains the id of an entity.
"""

import asyncio
import os
import threading
import time
from collections.abc import Iterable, Mapping

import structlog
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving_api.telemetry.correlation import REQUEST_ID, Trace

_log = structlog.get_logger(__name__)

_TRACED = "/v1/"
"""The prefix of the paths that are traced: requests of probes and of Prometheus are not."""

_CONTEXT_HEADERS = (b"traceparent", b"tracestate")
_PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"

_FLUSH_SECONDS = 3.0
"""The time for the last export. A process has 8 seconds to stop."""


class Tracing:
    """The spans of one process."""

    def __init__(self, build: str) -> None:
        """Export spans as the environment says. `build` is the version of the service in the spans."""
        for variable in _PROTOCOL_VARIABLES:
            if os.environ.get(variable, _PROTOCOL) != _PROTOCOL:
                _log.warning("traces are exported by http/protobuf only", variable=variable, value=os.environ[variable])
        named = OTELResourceDetector().detect().attributes
        resource = Resource.create({"service.name": "foreserve", "service.version": build, **named})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._propagator = TraceContextTextMapPropagator()
        self._tracer = self._provider.get_tracer("serving_api")

    async def close(self) -> None:
        """Export the remaining spans, for at most three seconds: the SDK may take longer than the process has."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _FLUSH_SECONDS)

    def current_trace(self) -> Trace | None:
        """The trace and the span of the current request; None if it has none."""
        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return None
        return (
            trace.format_trace_id(context.trace_id),
            trace.format_span_id(context.span_id),
            context.trace_flags.sampled,
        )

    def current_span(self) -> Span | None:
        """The span of the current request; None if it is not sampled."""
        span = trace.get_current_span()
        return span if span.is_recording() else None

    def around(self, app: ASGIApp, route: str | None = None) -> ASGIApp:
        """Wrap an application in traces. Spans are named by `route`, or by FastAPI's route if it is None."""
        return _Traced(app, self, route)

    def start_request(self, method: str, headers: Mapping[bytes, bytes]) -> Span:
        """Start the span of a request, in the trace that its headers name."""
        carrier = {name.decode(): headers[name].decode("latin-1") for name in _CONTEXT_HEADERS if name in headers}
        return self._tracer.start_span(
            method,
            context=self._propagator.extract(carrier) if carrier else None,
            kind=SpanKind.SERVER,
            attributes={"http.request.method": method},
        )

    def record_read(
        self, parents: Iterable[Span], started: int, attributes: Mapping[str, AttributeValue], error: str | None
    ) -> None:
        """Record a read that has just ended, in the trace of each request that waited for it.

        Args:
            parents: the spans of these requests.
            started: the time when the read was sent, in nanoseconds since the epoch.
            attributes: attributes of the span.
            error: the gRPC code of the failure; None if the read succeeded.
        """
        ended = time.time_ns()
        for parent in parents:
            span = self._tracer.start_span(
                "google.bigtable.v2.Bigtable/ReadRows",
                context=trace.set_span_in_context(parent),
                kind=SpanKind.CLIENT,
                attributes={
                    "rpc.system": "grpc",
                    "rpc.service": "google.bigtable.v2.Bigtable",
                    "rpc.method": "ReadRows",
                    **attributes,
                },
                start_time=started,
            )
            if error:
                span.set_attribute("error.type", error)
                span.set_status(StatusCode.ERROR, error)
            span.end(ended)


class _Traced:
    """An ASGI middleware that makes a span for every request to the API."""

    def __init__(self, app: ASGIApp, tracing: Tracing, route: str | None) -> None:
        self._app = app
        self._tracing = tracing
        self._route = route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_TRACED):
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        with trace.use_span(self._tracing.start_request(method, dict(scope["headers"])), end_on_exit=True) as span:

            async def send_and_note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _describe(span, message["status"], dict(message["headers"]))
                await send(message)

            await self._app(scope, receive, send_and_note if span.is_recording() else send)
            if route := self._route or getattr(scope.get("route"), "path", None):
                span.update_name(f"{method} {route}")
                span.set_attribute("http.route", route)


def _describe(span: Span, status: int, headers: Mapping[bytes, bytes]) -> None:
    span.set_attribute("http.response.status_code", status)
    if request_id := headers.get(REQUEST_ID):
        span.set_attribute("http.response.header.x-request-id", [request_id.decode("ascii")])
    if status >= 500:  # noqa: PLR2004  OpenTelemetry's definition of a server error
        span.set_status(StatusCode.ERROR)
