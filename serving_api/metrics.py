"""What the service measures of itself, for Prometheus; of all its processes, if it has several."""

import os
import time
from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving_api.settings import METRICS_FOLDER_VARIABLE

_LATENCIES = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
_KEYS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The measures of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Histogram(
            "foreserve_request_seconds",
            "Time from a request's head to the end of its answer.",
            ("route", "status"),
            buckets=_LATENCIES,
            registry=self._registry,
        )
        self.read_keys = Histogram(
            "foreserve_read_keys",
            "Keys in a Bigtable read; its count is the number of reads.",
            buckets=_KEYS,
            registry=self._registry,
        )
        self.read_failures = Counter(
            "foreserve_read_failures", "Bigtable reads that failed.", ("code",), registry=self._registry
        )
        self.hedged_reads = Counter(
            "foreserve_hedged_reads",
            "Bigtable reads that were made a second time, because the first was late or failed.",
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "foreserve_lookups_in_flight",
            "Entities being looked up.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.cache_hits = Counter(
            "foreserve_cache_hits", "Look-ups that were answered from the cache.", registry=self._registry
        )
        self.cache_misses = Counter(
            "foreserve_cache_misses", "Look-ups that the cache had no answer to.", registry=self._registry
        )
        self.cache_bytes = Gauge(
            "foreserve_cache_bytes", "Size of the cache.", registry=self._registry, multiprocess_mode="livesum"
        )
        self.refused = Counter(
            "foreserve_requests_refused",
            "Requests refused because too many look-ups were in flight.",
            registry=self._registry,
        )
        self._admissions = Counter(
            "foreserve_admissions",
            "Requests by caller (none: nobody known), and how they fared: admitted, unauthorized, forbidden, limited.",
            ("caller", "outcome"),
            registry=self._registry,
        )
        self.callers_file_broken = Gauge(
            "foreserve_callers_file_broken",
            "1 while the callers file cannot be understood, so that the last one that could counts.",
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self.issuer_failures = Counter(
            "foreserve_issuer_failures", "Failed reads of the keys of the tokens' issuer.", registry=self._registry
        )

    def count_of(self, caller: str, outcome: str) -> Callable[[], None]:
        """Counts the requests of a caller that fared in some way."""
        return self._admissions.labels(caller, outcome).inc

    def requests_of(self, route: str) -> Callable[[int], Histogram]:
        """The histogram of a route's requests, by the status of the answer."""
        return cache(lambda status: self.requests.labels(route, status))

    def exposition(self) -> bytes:
        """Everything measured, in the Prometheus text format."""
        measured = self._registry
        if METRICS_FOLDER_VARIABLE in os.environ:
            measured = CollectorRegistry()
            MultiProcessCollector(measured)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
        return generate_latest(measured)


class MetricsMiddleware:
    """Times every request, by the route that answered it and the status of the answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._requests_of = cache(metrics.requests_of)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and time it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._requests_of(route)(status).observe(time.perf_counter() - started)
