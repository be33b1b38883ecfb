"""Reads that are timed, counted, and traced: once for all the lookups that share one."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from serving_api.bigtable import CallError
from serving_api.store.batching import Batch
from serving_api.store.reads import BatchRead, Reader
from serving_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from serving_api.telemetry.tracing import Tracing

_UNWANTED = "DEADLINE_EXCEEDED"
"""Why reads are given up: whoever waited for them has waited for too long."""


class ObservedRead:
    """A read under way."""

    def __init__(
        self,
        reader: Reader,
        batch: Batch,
        when_ended: Callable[[Exception | None], None],
        metrics: Metrics,
        tracing: "Tracing | None",
    ) -> None:
        """Start it. `when_ended` is called later, unless it is given up before."""
        self._when_ended = when_ended
        self._metrics = metrics
        self._tracing = tracing
        self._keys = len(batch)
        self._spans = {waiter.span for waiter in batch.waiters if waiter.span} if tracing else None
        self._started_at = time.time_ns()
        self._started = time.perf_counter()
        metrics.queue_seconds.observe(self._started - batch.opened)
        metrics.read_keys.observe(self._keys)
        self._read = BatchRead(reader, batch, self._ended)

    def cancel(self) -> None:
        """Give it up."""
        self._read.cancel()
        self._note(_UNWANTED)

    def _ended(self, error: Exception | None) -> None:
        self._note(failure_code(error) if error else None)
        self._when_ended(error)

    def _note(self, failure: str | None) -> None:
        self._metrics.bigtable_seconds.observe(time.perf_counter() - self._started)
        if failure:
            self._metrics.read_failures.labels(failure).inc()
        if self._tracing and self._spans:
            read = self._read
            attributes = {"foreserve.read.keys": self._keys, "foreserve.read.hedged": read.is_hedged}
            if read.connection and read.connection.local_port:
                attributes["network.local.port"] = read.connection.local_port  # tells the connections apart
            self._tracing.record_read(self._spans, self._started_at, attributes, failure)


def failure_code(error: Exception) -> str:
    """What a failure of a read is counted as: its gRPC status, or, of a bug, the name of its class."""
    return error.code if isinstance(error, CallError) else type(error).__name__
