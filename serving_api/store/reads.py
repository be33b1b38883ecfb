"""Reads of batches: each is timed, counted and traced once for all its lookups.

A read makes an attempt, at most one more if it is hedged, and at most one more if Bigtable refused an attempt without
processing it. An attempt asks only for the rows that have not arrived.
"""

import asyncio
import time
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from prediction_store.messages import ReadRowsRequest, Row, RowSet
from serving_api.bigtable import BigtableClient, CallError, RowRead
from serving_api.store.batching import Batch, OnEnd
from serving_api.store.hedging import Hedging
from serving_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from serving_api.telemetry.tracing import Tracing

_log = structlog.get_logger(__name__)

_CANCELLED = "DEADLINE_EXCEEDED"
"""The failure that a cancelled read is counted as: reads are cancelled when the deadlines of all lookups passed."""


class Outage:
    """Logs when reads begin to fail, and when they succeed again."""

    def __init__(self) -> None:
        self._code: str | None = None

    def note(self, error: CallError | None) -> None:
        """Record the end of a read; log it if it differs from the end of the one before."""
        code = error.code if error else None
        if code == self._code:
            return
        self._code = code
        if error:
            _log.error("reads fail", code=code, reason=str(error))
        else:
            _log.info("reads succeed again")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Reads batches from one table through one filter.

    Attributes:
        client: reads from Bigtable.
        table: the full name of the table.
        request: a serialized ReadRowsRequest without app profile and row keys.
        app_profiles: the app profiles of first and of hedged reads.
        hedging: decides when a read is hedged.
        metrics: times and counts reads.
        tracing: traces reads; None if the service makes no traces.
        outage: logs failures.
    """

    client: BigtableClient
    table: str
    request: bytes
    app_profiles: tuple[str, str]
    hedging: Hedging
    metrics: Metrics
    tracing: "Tracing | None"
    outage: Outage

    def read(self, batch: Batch, on_end: OnEnd) -> "BatchRead":
        """Start to read a batch."""
        return BatchRead(self, batch, on_end)


class BatchRead:
    """A read in flight."""

    def __init__(self, reader: Reader, batch: Batch, on_end: OnEnd) -> None:
        """Start the read. `on_end` is called later, after all rows have been delivered, unless it is cancelled."""
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._batch = batch
        self._on_end = on_end
        self._attempts: list[RowRead] = []
        """The calls of ReadRows that are in flight."""
        self._first: RowRead | None = None
        self._answered_by: RowRead | None = None
        self._timer: asyncio.Handle | None = None
        self._may_hedge = True
        self._may_repeat = True
        self._keys = len(batch)
        self._spans = {waiter.span for waiter in batch.waiters if waiter.span} if reader.tracing else None
        self._started_ns = time.time_ns()
        self._started = time.perf_counter()
        reader.metrics.queue_seconds.observe(self._started - batch.opened)
        reader.metrics.read_keys.observe(self._keys)
        reader.hedging.count_read(self._keys)
        try:
            self._attempt()
        except CallError as error:
            self._timer = self._loop.call_soon(self._end, error)
            return
        if (delay := reader.hedging.delay_seconds(self._keys)) is not None:
            self._timer = self._loop.call_later(delay, self._hedge)

    def cancel(self) -> None:
        """Cancel the read. `on_end` is not called."""
        self._stop()
        self._record(_CANCELLED)

    def received(self, attempt: RowRead, rows: list[Row]) -> None:
        """Deliver rows to the batch. If the read is hedged, it ends with the last row."""
        deliver = self._batch.deliver
        for key, cells in rows:
            deliver(key, cells)
        if len(self._attempts) > 1 and not len(self._batch):
            self._note_answer(attempt)
            self._end(None)

    def ended(self, attempt: RowRead, error: CallError | None) -> None:
        """Handle the end of an attempt. After a failure, another attempt may still succeed."""
        self._attempts.remove(attempt)
        if error is None:
            self._note_answer(attempt)
        elif (
            self._attempts
            or (error.unprocessed and self._repeat(attempt))
            or (error.is_transient and self._hedge(attempt))
        ):
            return
        self._end(error)

    def _attempt(self, avoid: Hashable | None = None, *, hedged: bool = False) -> None:
        """Request the rows that have not been delivered.

        Raises:
            CallError: no connection is ready.
        """
        timeout = self._batch.deadline - self._loop.time()
        reader = self._reader
        app_profile = reader.app_profiles[hedged]
        # A serialized message is the concatenation of its fields, so the remaining fields are appended.
        rest = ReadRowsRequest(app_profile_id=app_profile, rows=RowSet(row_keys=self._batch.keys))
        request = reader.request + rest.SerializeToString()
        attempt = reader.client.read_rows(reader.table, request, timeout, self, avoid, app_profile)
        self._attempts.append(attempt)
        self._first = self._first or attempt

    def _repeat(self, refused: RowRead) -> bool:
        """Repeat an attempt that Bigtable did not process. Return False if one was repeated before, or has all rows."""
        # A request without row keys would read the whole table.
        if not self._may_repeat or not len(self._batch):
            return False
        self._may_repeat = False
        if self._first is refused:
            self._first = None
        return self._try_attempt(refused.connection, hedged=False)

    def _hedge(self, failed: RowRead | None = None) -> bool:
        """Hedge the read. Return False if it was hedged before, has all rows, or is over the budget.

        Args:
            failed: the attempt that failed; None if the attempt in flight is slow.
        """
        missing = len(self._batch)
        if not self._may_hedge or not missing or not self._reader.hedging.spend(missing):
            return False
        self._may_hedge = False
        self._reader.metrics.hedged_reads.inc()
        return self._try_attempt((failed or self._attempts[0]).connection, hedged=True)

    def _try_attempt(self, avoid: Hashable | None, *, hedged: bool) -> bool:
        """Make another attempt. Return False if no connection is ready."""
        try:
            self._attempt(avoid, hedged=hedged)
        except CallError:
            return False
        return True

    def _note_answer(self, attempt: RowRead) -> None:
        """Record the latency of the read, and the attempt that gave the answer.

        Hedged reads count, too. Without them, the slowest reads would be missing, and the delay would become shorter
        and shorter.
        """
        self._reader.hedging.observe(self._keys, time.perf_counter() - self._started)
        self._answered_by = attempt
        if attempt is not self._first:
            self._reader.metrics.hedged_reads_won.inc()

    def _end(self, error: CallError | None) -> None:
        self._stop()
        self._record(error.code if error else None)
        self._reader.outage.note(error)
        self._on_end(error)

    def _stop(self) -> None:
        if self._timer:
            self._timer.cancel()
        for attempt in self._attempts:
            attempt.cancel()
        self._attempts.clear()

    def _record(self, failure: str | None) -> None:
        """Record the read in the metrics and in the traces of its requests. `failure` is a gRPC status code."""
        reader = self._reader
        reader.metrics.bigtable_seconds.observe(time.perf_counter() - self._started)
        if failure:
            reader.metrics.read_failures.labels(failure).inc()
        if reader.tracing and self._spans:
            attributes = {"foreserve.read.keys": self._keys, "foreserve.read.hedged": not self._may_hedge}
            if self._answered_by and self._answered_by.local_port:
                # The local port tells the connections of the process apart.
                attributes["network.local.port"] = self._answered_by.local_port
            reader.tracing.record_read(self._spans, self._started_ns, attributes, failure)
        # The calls refer to this read. Without the cycle, it is freed at once, and not by the garbage collector.
        self._first = self._answered_by = None
