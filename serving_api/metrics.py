"""What the service measures of itself, for Prometheus; of all its processes, if it has several."""

import os
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving_api.catalog import Catalog

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable with the folder in which processes share their metrics (of prometheus_client)."""

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
        self.in_flight = Gauge(
            "foreserve_lookups_in_flight",
            "Entities being looked up.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.refused = Counter(
            "foreserve_requests_refused",
            "Requests refused because too many look-ups were in flight.",
            registry=self._registry,
        )

    def exposition(self, catalog: Catalog) -> bytes:
        """Everything measured, and what a catalog serves, in the Prometheus text format."""
        measured = self._registry
        if MULTIPROCESS_VARIABLE in os.environ:
            measured = CollectorRegistry()
            MultiProcessCollector(measured)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
        served = CollectorRegistry()
        served.register(_Served(catalog))
        return generate_latest(measured) + generate_latest(served)


class _Served(Collector):
    """The versions served by the process that answers, and the age of what it knows."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The measures, as of now."""
        if (age := self._catalog.age_seconds) is not None:
            yield GaugeMetricFamily(
                "foreserve_registry_age_seconds", "Time since the registry was last read.", value=age
            )
        snapshot = self._catalog.snapshot
        if snapshot is None:
            return
        versions = GaugeMetricFamily(
            "foreserve_served_version", "The version served, in milliseconds since the epoch.", labels=("model",)
        )
        ages = GaugeMetricFamily("foreserve_served_version_age_seconds", "The age of it.", labels=("model",))
        for name, model in snapshot.models.items():
            if model.active:
                versions.add_metric((name,), model.active.version)
                ages.add_metric((name,), time.time() - model.active.version / 1000)
        yield versions
        yield ages
        broken = len(snapshot.broken)
        yield GaugeMetricFamily("foreserve_broken_models", "Models with a broken registry document.", value=broken)


class MetricsMiddleware:
    """Times every request, by the route that answered it and the status of the answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._requests = metrics.requests
        self._children: dict[tuple[str, int], Histogram] = {}

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
            self._child(getattr(scope.get("route"), "path", "none"), status).observe(time.perf_counter() - started)

    def _child(self, route: str, status: int) -> Histogram:
        child = self._children.get((route, status))
        if child is None:
            child = self._children[route, status] = self._requests.labels(route, status)
        return child
