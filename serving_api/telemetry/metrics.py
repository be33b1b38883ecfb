"""Metrics of the service for Prometheus, summed over its processes if it has several."""

import asyncio
import os
import time
from collections.abc import Callable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from serving_api.settings import METRICS_FOLDER_VARIABLE

_LATENCIES = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
_STAGES = (0.0002, 0.0005, *_LATENCIES)
_LAGS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
_KEYS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

_LAG_PROBE_SECONDS = 0.25


class Metrics:
    """The metrics of one process."""

    def __init__(self) -> None:
        # The metrics of several processes have no creation times, so those of one process have none either.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
        self._registry = CollectorRegistry()
        self.requests = Histogram(
            "foreserve_request_seconds",
            "Time from the head of a request to the end of its answer.",
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
        stages = Histogram(
            "foreserve_stage_seconds",
            "Time of a Bigtable read in a stage: `queue` until it is sent, `bigtable` until it ends.",
            ("stage",),
            buckets=_STAGES,
            registry=self._registry,
        )
        self.queue_seconds = stages.labels("queue")
        self.bigtable_seconds = stages.labels("bigtable")
        self.read_failures = Counter(
            "foreserve_read_failures", "Bigtable reads that failed.", ("code",), registry=self._registry
        )
        self.hedged_reads = Counter(
            "foreserve_hedged_reads",
            "Bigtable reads that were hedged, because the first attempt was slow or failed.",
            registry=self._registry,
        )
        self.hedged_reads_won = Counter(
            "foreserve_hedged_reads_won",
            "Hedged reads whose second attempt gave the answer.",
            registry=self._registry,
        )
        self.connections_ready = Gauge(
            "foreserve_connections_ready",
            "Connections to Bigtable that are ready for reads.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.connections_opened = Counter(
            "foreserve_connections_opened",
            "Connections to Bigtable that were opened, including replacements.",
            registry=self._registry,
        )
        self.connection_failures = Counter(
            "foreserve_connection_failures",
            "Connections to Bigtable that could not be opened.",
            registry=self._registry,
        )
        self.task_failures = Counter(
            "foreserve_task_failures",
            "Unexpected exceptions of background tasks, which were started again.",
            ("task",),
            registry=self._registry,
        )
        self.event_loop_lag = Histogram(
            "foreserve_event_loop_lag_seconds",
            "Delay with which the event loop runs callbacks that are due.",
            buckets=_LAGS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "foreserve_lookups_in_flight",
            "Entities that are being looked up.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.cache_hits = Counter(
            "foreserve_cache_hits", "Lookups that were answered from the cache.", registry=self._registry
        )
        self.cache_misses = Counter(
            "foreserve_cache_misses", "Lookups that the cache could not answer.", registry=self._registry
        )
        self.cache_bytes = Gauge(
            "foreserve_cache_bytes", "Size of the cache in bytes.", registry=self._registry, multiprocess_mode="livesum"
        )
        self.in_flight_limit = Gauge(
            "foreserve_lookups_in_flight_limit",
            "Limit of entities that are looked up at a time.",
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.refused = Counter(
            "foreserve_requests_refused",
            "Requests refused because the limit of lookups in flight was reached.",
            registry=self._registry,
        )
        self._admissions = Counter(
            "foreserve_admissions",
            "Requests by caller (empty if unknown) and outcome: admitted, unauthorized, forbidden, limited.",
            ("caller", "outcome"),
            registry=self._registry,
        )
        self.callers_file_broken = Gauge(
            "foreserve_callers_file_broken",
            "1 while the callers file is invalid and its last valid content is used, else 0.",
            registry=self._registry,
            multiprocess_mode="livemax",
        )
        self.issuer_failures = Counter(
            "foreserve_issuer_failures", "Failed reads of the keys of the tokens' issuer.", registry=self._registry
        )

    def count_of(self, caller: str, outcome: str) -> Callable[[], None]:
        """The function that counts a request of a caller with an outcome."""
        return self._admissions.labels(caller, outcome).inc

    def requests_of(self, route: str) -> Callable[[int], Histogram]:
        """The function that returns the histogram of a route's requests for a status."""
        return cache(lambda status: self.requests.labels(route, status))

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        measured = self._registry
        if METRICS_FOLDER_VARIABLE in os.environ:
            measured = CollectorRegistry()
            MultiProcessCollector(measured)  # type: ignore[no-untyped-call]  # prometheus_client leaves it untyped
        return generate_latest(measured)


async def observe_event_loop_lag(lag: Histogram) -> None:
    """Sleep again and again until cancelled, and observe by how many seconds each sleep was too long.

    Every request waits for as long when the process has more work than one core can do.
    """
    while True:
        started = time.perf_counter()
        await asyncio.sleep(_LAG_PROBE_SECONDS)
        lag.observe(max(0.0, time.perf_counter() - started - _LAG_PROBE_SECONDS))
