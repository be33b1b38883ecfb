"""Bulk writes by MutateRows: several requests in flight, and retries of failed entries only."""

import itertools
import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import grpc
import numpy as np

from beam_jobs.flow_control import FlowControl
from beam_jobs.mutations import Entries
from prediction_store.connection import FEATURES, is_transient, mutate_rows, requested_delay, routing_metadata
from prediction_store.messages import MutateRowsRequest, MutateRowsResponse

CHANNEL_OPTIONS = ((grpc.experimental.ChannelOptions.SingleThreadedUnaryStream, 1),)
"""Options of a writer's channel. The thread that waits for a response reads it: an eighth less CPU time."""

MAX_ENTRIES = 2_000
"""Largest number of entries in a request. More made the job 5 % faster on two cores. Bigtable's limit is 100,000."""

MAX_BYTES = 8 * 1024 * 1024
"""Largest size of a request, in bytes. A larger row is sent in a request of its own."""

MAX_IN_FLIGHT = 4
"""Largest number of requests that wait for their responses at the same time."""

MAX_BYTES_IN_FLIGHT = 2 * MAX_BYTES
"""Largest size of these requests together, in bytes. A larger request waits for no response but its own."""

_OVERLOAD = frozenset(
    (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
)
_FIRST_DELAY = 0.05  # seconds
_LARGEST_DELAY = 10.0
_REQUEST_TIMEOUT = 60.0

_log = logging.getLogger(__name__)


class WriteError(Exception):
    """Bigtable refused rows, or did not write them before the deadline."""


@dataclass(frozen=True, slots=True)
class Target:
    """A table to write to, and the limits of writing.

    Attributes:
        table: the table's full name.
        app_profile: the app profile; empty for the instance's default.
        deadline_seconds: the time for which failed entries of a request are tried again.
        max_rows_per_second: the largest rate of one worker process.
    """

    table: str
    app_profile: str
    deadline_seconds: float
    max_rows_per_second: float = math.inf


@dataclass(slots=True)
class Tally:
    """Counts of a writer's work."""

    bytes: int = 0
    retries: int = 0  # entries sent again
    throttled_seconds: float = 0.0

    def add(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        self.bytes += other.bytes
        self.retries += other.retries
        self.throttled_seconds += other.throttled_seconds


class BulkWriter:
    """Writes entries to one table. Not thread-safe. Every entry is written when `flush` has returned.

    Each request in flight has a thread of its own. So its response is read at once, even while the writer's thread
    waits for more entries.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        target: Target,
        flow_control: FlowControl,
        seconds_allowed: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Write to `target`.

        Args:
            channel: a channel to Bigtable, with `CHANNEL_OPTIONS`.
            target: the table, and the limits.
            flow_control: the rate limit, shared by all writers of the process.
            seconds_allowed: returns the number of seconds that a request which is sent now may take. It is called
                before each request, by several threads. An exception from it ends the writing.
        """
        self._mutate_rows = mutate_rows(channel)
        self._target = target
        self._flow_control = flow_control
        self._seconds_allowed = seconds_allowed
        self._metadata = (routing_metadata(target.table, target.app_profile), FEATURES)
        self._head = MutateRowsRequest(table_name=target.table, app_profile_id=target.app_profile).SerializeToString()
        self._pool = ThreadPoolExecutor(MAX_IN_FLIGHT)
        self._in_flight: deque[tuple[Future[Tally], int]] = deque()  # each request's result, and its size in bytes
        self._failed = threading.Event()
        self._tally = Tally()
        self._start_request()

    def add(self, entries: Entries) -> None:
        """Add entries, and send full requests.

        Raises:
            WriteError: an earlier entry could not be written.
        """
        start = 0
        while start < len(entries):
            stop = self._fitting(entries.offsets, start)
            if stop > start:
                self._append(entries.encoded[entries.offsets[start] : entries.offsets[stop]], stop - start)
                start = stop
            else:
                self._send()

    def flush(self) -> None:
        """Send the remaining entries, and wait until all are written.

        Raises:
            WriteError: an entry could not be written. The message has the first row keys and the reasons.
        """
        if self._rows:
            self._send()
        while self._in_flight:
            self._settle_oldest()

    def take_tally(self) -> Tally:
        """Return the counts since the last call, and start new ones."""
        taken, self._tally = self._tally, Tally()
        return taken

    def _start_request(self) -> None:
        self._parts: list[bytes | memoryview] = [self._head]
        self._rows = 0
        self._bytes = 0

    def _fitting(self, offsets: np.ndarray[Any, np.dtype[np.int32]], start: int) -> int:
        """The index after the last entry, from `start` on, that fits into the current request."""
        limit = int(offsets[start]) + MAX_BYTES - self._bytes
        stop = int(np.searchsorted(offsets, limit, side="right")) - 1
        if self._rows == 0:
            stop = max(stop, start + 1)
        # At most the rows of one second, so that no request waits for long.
        most_rows = int(max(1, min(MAX_ENTRIES, self._flow_control.rows_per_second)))
        return min(stop, start + max(0, most_rows - self._rows), len(offsets) - 1)

    def _append(self, encoded: memoryview, rows: int) -> None:
        self._parts.append(encoded)
        self._rows += rows
        self._bytes += len(encoded)

    def _send(self) -> None:
        request, rows = b"".join(self._parts), self._rows
        while self._in_flight and not self._may_send(len(request)):
            self._settle_oldest()
        self._start_request()
        self._tally.throttled_seconds += self._flow_control.acquire(rows)
        self._in_flight.append((self._pool.submit(self._write, request, rows), len(request)))

    def _may_send(self, size: int) -> bool:
        in_flight = sum(waiting for _, waiting in self._in_flight)
        return len(self._in_flight) < MAX_IN_FLIGHT and in_flight + size <= MAX_BYTES_IN_FLIGHT

    def _settle_oldest(self) -> None:
        try:
            self._tally.add(self._in_flight.popleft()[0].result())
        except BaseException:
            self._failed.set()
            raise

    def _write(self, request: bytes, rows: int) -> Tally:
        """Send a request, and retry entries with transient errors until all are written."""
        deadline = time.monotonic() + self._target.deadline_seconds
        tally = Tally(len(request))
        for attempt in itertools.count():
            seconds = min(self._seconds_allowed(), deadline - time.monotonic())
            failed, delay = self._failed_entries(request, rows, seconds)
            if not failed:
                break
            entries = MutateRowsRequest.FromString(request).entries
            if refused := {i: status for i, status in failed.items() if not status.transient}:
                raise WriteError(_describe("Bigtable refused", entries, refused))
            if delay is None:
                delay = min(_LARGEST_DELAY, _FIRST_DELAY * 2**attempt) * random.uniform(0.5, 1)  # noqa: S311  jitter
            if time.monotonic() + delay >= deadline:
                problem = f"Bigtable did not take within {self._target.deadline_seconds:g} s"
                raise WriteError(_describe(problem, entries, failed))
            _log.warning("%s; again in %.2f s", _describe("Bigtable did not take", entries, failed), delay)
            if self._failed.wait(delay):
                raise WriteError("stopped, because another request failed")
            request = MutateRowsRequest(entries=[entries[index] for index in failed]).SerializeToString()
            request, rows = self._head + request, len(failed)
            throttled = self._flow_control.acquire(rows)
            tally.add(Tally(len(request), rows, throttled))
        return tally

    def _failed_entries(self, request: bytes, rows: int, seconds: float) -> tuple[dict[int, "_Status"], float | None]:
        """Send a request.

        Returns:
            The status of each entry that was not written, by index, and the delay in seconds that the server wants.
        """
        timeout = min(_REQUEST_TIMEOUT, seconds)
        answer = MutateRowsResponse()
        unanswered = _Status(grpc.StatusCode.UNAVAILABLE.value[0], "the answer ended before this row", transient=True)
        delay = None
        try:
            for response in self._mutate_rows(request, timeout=timeout, metadata=self._metadata):
                self._flow_control.follow(response)
                answer.MergeFrom(response)
        except grpc.RpcError as error:
            code, message, delay = error.code().value[0], error.details() or "", requested_delay(error)
            unanswered = _Status(code, message, transient=delay is not None or is_transient(code, message))
            if error.code() in _OVERLOAD:
                self._flow_control.back_off()
        answer.ClearField("rate_limit_info")
        if answer in _whole_answers(rows):
            return {}, None
        statuses: dict[int, _Status] = {}
        for entry in answer.entries:
            code, message = entry.status.code, entry.status.message
            if code or entry.index not in statuses:
                statuses[entry.index] = _Status(code, message, transient=is_transient(code, message))
        every = {index: statuses.get(index, unanswered) for index in range(rows)}
        return {index: status for index, status in every.items() if status.code != 0}, delay


@lru_cache(maxsize=64)
def _whole_answers(rows: int) -> tuple[Any, Any]:
    """The answers that name every entry of a request once, in order, and with no error: with and without a status.

    One comparison with an answer takes half of the time that a look at each of its entries takes.
    """
    without = [MutateRowsResponse.Entry(index=index) for index in range(rows)]
    with_status = [MutateRowsResponse.Entry(index=index, status={}) for index in range(rows)]
    return MutateRowsResponse(entries=with_status), MutateRowsResponse(entries=without)


@dataclass(frozen=True, slots=True)
class _Status:
    code: int
    message: str
    transient: bool


def _describe(problem: str, entries: Any, failed: dict[int, _Status]) -> str:
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    first = "; ".join(
        f"{entries[index].row_key[:64]!r}: {names.get(status.code, status.code)} {status.message}"
        for index, status in itertools.islice(failed.items(), 3)
    )
    return f"{problem} {len(failed)} rows, the first: {first}"
