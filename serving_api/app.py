"""The application: routes, errors, metrics, and the service that lives as long as it does."""

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from serving_api.http import openapi, problems
from serving_api.http.middleware.authentication import AccessMiddleware
from serving_api.http.middleware.body_limit import BodyLimitMiddleware
from serving_api.http.middleware.request_log import Observation, ObservationMiddleware
from serving_api.http.routes import models, operations, pages, predictions
from serving_api.http.routes.lookup import PATH, PredictionEndpoint, is_lookup
from serving_api.service import Service
from serving_api.settings import Settings
from serving_api.telemetry.correlation import Correlation
from serving_api.telemetry.logs import configure_logs
from serving_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from serving_api.telemetry.tracing import Tracing

_TRACING_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_MAX_BODY_BYTES = 8 << 20  # a thousand of the longest ids take half of it


class ServingApp(FastAPI):
    """FastAPI, but for the one route that is called for every lookup."""

    lookup: ASGIApp
    settings: Settings

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = openapi.complete(super().openapi(), self.settings)
        return self.openapi_schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if is_lookup(scope):
            await self.lookup(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(settings: Settings) -> FastAPI:
    """The application, which connects to Bigtable when it starts."""
    metrics = Metrics()
    tracing = _tracing(settings)
    observation = Observation(metrics, Correlation(settings.project, tracing.current_trace if tracing else None))

    @asynccontextmanager
    async def lifespan(app: ServingApp) -> AsyncIterator[None]:
        async with Service.run(settings, metrics, tracing) as service:
            app.state.service = service
            app.lookup = PredictionEndpoint(service, observation)
            if tracing:
                app.lookup = tracing.around(app.lookup, PATH)
            gc.collect()
            gc.freeze()  # what is here now stays; passing over it again and again made p99 36 ms instead of 22
            yield
        if tracing:
            await tracing.close()

    app = ServingApp(
        title="Foreserve",
        summary="Looks up the predictions of models, by entity.",
        version="1",
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,  # which would load Swagger UI from elsewhere
        redoc_url=None,
        generate_unique_id_function=attrgetter("name"),  # so that clients have functions of these names
    )
    app.settings = settings
    app.add_middleware(BodyLimitMiddleware, max_bytes=_MAX_BODY_BYTES, max_seconds=settings.body_seconds)
    app.add_middleware(AccessMiddleware, metrics_open=settings.metrics_open)
    app.add_middleware(ObservationMiddleware, observation=observation)
    if tracing:
        app.add_middleware(tracing.around)
    problems.install(app)
    for routes in (predictions, models, operations, pages):
        app.include_router(routes.router)
    return app


def from_environment() -> FastAPI:
    """The application in a process of its own, set up by the environment."""
    settings = Settings.from_environment()
    configure_logs(settings.log_level)
    return create_app(settings)


def _tracing(settings: Settings) -> "Tracing | None":
    """Traces, if OpenTelemetry's variables say where they go; if not, not even its SDK is imported."""
    if not any(os.environ.get(variable) for variable in _TRACING_VARIABLES):
        return None
    from serving_api.telemetry.tracing import Tracing  # noqa: PLC0415  only here

    return Tracing(settings.build)
