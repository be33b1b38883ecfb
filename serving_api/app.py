"""The application: routes, middleware, and the service that lives as long as the process."""

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from serving_api.http import openapi, problems
from serving_api.http.middleware.authentication import AuthenticationMiddleware
from serving_api.http.middleware.limits import LimitsMiddleware, is_target_long
from serving_api.http.middleware.request_log import RequestLog, RequestLogMiddleware
from serving_api.http.responses import without_body
from serving_api.http.routes import lookup, models, operations, pages, predictions
from serving_api.service import Service
from serving_api.settings import Settings
from serving_api.telemetry.correlation import Correlation
from serving_api.telemetry.logs import configure_logs
from serving_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from serving_api.telemetry.tracing import Tracing

_TRACING_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class ServingApp(FastAPI):
    """FastAPI, except for the route that is called for every lookup."""

    lookup: ASGIApp
    settings: Settings

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete(
                super().openapi(), {lookup.PATH: {"get": lookup.OPERATION}}, self.settings
            )
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            # FastAPI's routes do not answer HEAD.
            scope, send = {**scope, "method": "GET"}, without_body(send)
        if lookup.is_lookup(scope["path"]) and not is_target_long(scope):
            await self.lookup(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """The application. It connects to Bigtable when it starts."""
    metrics = Metrics()
    tracing = _tracing(settings)
    request_log = RequestLog(metrics, Correlation(settings.project, tracing.current_trace if tracing else None))

    @asynccontextmanager
    async def lifespan(app: ServingApp) -> AsyncIterator[None]:
        async with Service.run(settings, metrics, tracing) as service:
            app.state.service = service
            app.lookup = lookup.LookupEndpoint(service, request_log)
            if tracing:
                app.lookup = tracing.around(app.lookup, lookup.PATH)
            # The objects that exist now stay. Collecting them again and again made p99 36 ms instead of 22.
            gc.collect()
            gc.freeze()
            yield
        if tracing:
            await tracing.close()

    app = ServingApp(
        title="Foreserve",
        summary="Looks up the predictions of models, by entity.",
        version="1",
        lifespan=lifespan,
        redirect_slashes=False,
        # FastAPI's pages load their scripts from other servers.
        docs_url=None,
        redoc_url=None,
        # Generated clients name their functions by this id.
        generate_unique_id_function=attrgetter("name"),
    )
    app.settings = settings
    app.add_middleware(LimitsMiddleware, max_seconds=settings.body_seconds)
    app.add_middleware(AuthenticationMiddleware, metrics_open=settings.metrics_open)
    app.add_middleware(RequestLogMiddleware, request_log=request_log)
    if tracing:
        app.add_middleware(tracing.around)
    problems.install_handlers(app)
    for routes in (predictions, models, operations, pages):
        app.include_router(routes.router)
    lookup.refuse_shadowed(app.routes)
    return app


def from_environment() -> FastAPI:
    """The application of a server process, with the settings in the environment."""
    settings = Settings.from_environment()
    configure_logs(settings.log_level)
    return create_app(settings)


def _tracing(settings: Settings) -> "Tracing | None":
    """The traces, if the variables of OpenTelemetry name an endpoint for them."""
    if not any(os.environ.get(variable) for variable in _TRACING_VARIABLES):
        return None
    from serving_api.telemetry.tracing import Tracing  # noqa: PLC0415  imports OpenTelemetry's SDK

    return Tracing(settings.build)
