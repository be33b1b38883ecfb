"""What is noted of every request: how long it took, what it is called, and that it failed.

`ObservationMiddleware` does so for FastAPI's routes, `PredictionEndpoint` for its own.
"""

import time
from dataclasses import dataclass, field
from functools import cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from serving_api.http.problems import PROBLEM, as_problem
from serving_api.telemetry.correlation import REQUEST_ID, Correlation
from serving_api.telemetry.failure_log import FailureLog
from serving_api.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Observation:
    """Where it is noted."""

    metrics: Metrics
    correlation: Correlation
    failures: FailureLog = field(default_factory=FailureLog)


class ObservationMiddleware:
    """Times every request, gives its answer an id, and answers with a problem document where nothing else did."""

    def __init__(self, app: ASGIApp, observation: Observation) -> None:
        self._app = app
        self._observation = observation
        self._requests_of = cache(observation.metrics.requests_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        correlation, failures = self._observation.correlation, self._observation.failures
        headers = dict(scope["headers"])
        request_id = correlation.request_id(headers)
        status: int | None = None
        unforeseen: Exception | None = None

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                total = b"total;dur=%.2f" % ((time.perf_counter() - started) * 1e3)
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id), (b"server-timing", total)]
            await send(message)

        with bound_contextvars(**correlation.log_fields(headers, request_id)):
            try:
                await self._app(scope, receive, send_and_note)
            except Exception as error:
                if status is not None:
                    raise
                unforeseen, problem = error, as_problem(error)
                scope[PROBLEM] = problem.title
                await problem.response()(scope, receive, send_and_note)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "none")
                self._requests_of(route)(status or 500).observe(seconds)
                if failures.takes(status or 500):
                    title = scope.get(PROBLEM)
                    failures.write(
                        status or 500, title, unforeseen, method=scope["method"], route=route, seconds=round(seconds, 6)
                    )
