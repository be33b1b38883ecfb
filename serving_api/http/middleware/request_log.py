"""Records every request: its duration in the metrics, its id in the answer, its failure in the log.

`RequestLogMiddleware` does so for FastAPI's routes. `routes.lookup` does so by itself.
"""

import time
from dataclasses import dataclass, field
from functools import cache

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from serving_api.http.problems import PROBLEM_TITLE, as_problem
from serving_api.telemetry.correlation import REQUEST_ID, Correlation
from serving_api.telemetry.failure_log import FailureLog
from serving_api.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class RequestLog:
    """The places where requests are recorded."""

    metrics: Metrics
    correlation: Correlation
    failures: FailureLog = field(default_factory=FailureLog)


class RequestLogMiddleware:
    """Records every request, and answers with a problem document where an exception is a bug."""

    def __init__(self, app: ASGIApp, request_log: RequestLog) -> None:
        self._app = app
        self._request_log = request_log
        self._requests_of = cache(request_log.metrics.requests_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and record its answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        correlation = self._request_log.correlation
        headers = dict(scope["headers"])
        request_id = correlation.request_id(headers)
        status: int | None = None
        bug: Exception | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                total = b"total;dur=%.2f" % ((time.perf_counter() - started) * 1e3)
                message["headers"] = [*message["headers"], (REQUEST_ID, request_id), (b"server-timing", total)]
            await send(message)

        with bound_contextvars(**correlation.log_fields(headers, request_id)):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                if status is not None:
                    raise
                bug = error
                await as_problem(error).send(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                route = getattr(scope.get("route"), "path", "none")
                self._requests_of(route)(status or 500).observe(seconds)
                self._request_log.failures.log(
                    status or 500,
                    scope.get(PROBLEM_TITLE),
                    bug,
                    lambda: {"method": scope["method"], "route": route, "seconds": round(seconds, 6)},
                )
