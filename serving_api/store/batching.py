"""Batching: lookups that arrive at about the same time share one ReadRows call of a few keys.

While fewer than `_EAGER_READS` reads are in flight, a lookup is read at the end of the current event-loop iteration,
together with all others of that iteration. While more reads are in flight, new keys are collected until a read ends,
or for up to one millisecond, and then sent. So lookups share the CPU time of a call, which is most of their own.

Bigtable reads the keys of one call one after the other, and calls side by side
(https://github.com/googleapis/java-bigtable/issues/386). So a read has few keys, and the keys of a large lookup are cut
into parts that are read at the same time.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from opentelemetry.trace import Span

_EAGER_READS = 3
"""Keys are sent at once while fewer reads are in flight. With 16, lookups on 64 connections took 12 % more CPU time."""

_COLLECT_SECONDS = 0.001
"""The longest time for which keys are collected while more reads are in flight."""

_RECENT_READS = 16
"""The number of reads whose shortest time tells which waiting keys would come too late."""

Cells = dict[str, bytes]
"""The predictions in a row, by model. An empty value is a tombstone."""


class Waiter:
    """A lookup that waits for one or more rows.

    Attributes:
        rows: its result is the rows that exist, by key.
        deadline: the event-loop time after which the rows are of no use.
        span: the span of its request if the request is traced.
    """

    __slots__ = ("_found", "_outstanding", "deadline", "rows", "span")

    def __init__(
        self, rows: "asyncio.Future[dict[bytes, Cells]]", deadline: float, keys: int, span: "Span | None" = None
    ) -> None:
        """Wait for `keys` rows."""
        self.rows = rows
        self.deadline = deadline
        self.span = span
        self._found: dict[bytes, Cells] = {}
        self._outstanding = keys

    @property
    def is_waiting(self) -> bool:
        """Return True unless the lookup has its result or was cancelled."""
        return not self.rows.done()

    def set_row(self, key: bytes, cells: Cells) -> None:
        """Keep a row; set the result if it was the last one."""
        self._found[key] = cells
        self.set_absent()

    def set_absent(self) -> None:
        """Count a row as answered; set the result if it was the last one."""
        self._outstanding -= 1
        if not self._outstanding and not self.rows.done():
            self.rows.set_result(self._found)

    def set_error(self, error: Exception) -> None:
        """Set the error as the result: one of the rows could not be read."""
        if not self.rows.done():
            self.rows.set_exception(error)


class Batch:
    """Keys that are read together, and the waiters of each key."""

    def __init__(self, on_unwanted: Callable[["Batch"], None]) -> None:
        """Create an empty batch. `on_unwanted` is called when the deadlines of all waiters have passed."""
        self.opened = time.perf_counter()
        self.deadline = 0.0
        """The latest deadline of its waiters, in event-loop time."""
        self.is_full = False
        """True if no more keys are added."""
        self._loop = asyncio.get_running_loop()
        self._waiters: dict[bytes, list[Waiter]] = {}
        self._on_unwanted = on_unwanted
        self._timer: asyncio.Handle | None = None
        self._timer_at = math.inf

    def __len__(self) -> int:
        return len(self._waiters)

    def __contains__(self, key: bytes) -> bool:
        return key in self._waiters

    def add(self, key: bytes, waiter: Waiter) -> None:
        """Add a waiter for a key."""
        waiters = self._waiters.get(key)
        if waiters is None:
            self._waiters[key] = [waiter]
        else:
            waiters.append(waiter)
        self.deadline = max(self.deadline, waiter.deadline)
        if waiter.deadline < self._timer_at:
            self._set_timer(waiter.deadline)

    def fill(self, keys: Collection[bytes], waiter: Waiter) -> None:
        """Add a waiter for keys to an empty batch, which takes no more keys."""
        self._waiters = {key: [waiter] for key in keys}
        self.deadline = waiter.deadline
        self._set_timer(waiter.deadline)
        self.is_full = True

    @property
    def keys(self) -> Collection[bytes]:
        """The keys that have no answer yet."""
        return self._waiters.keys()

    @property
    def waiters(self) -> Iterator[Waiter]:
        """The waiters of all keys. A waiter for several keys is repeated."""
        return (waiter for waiters in self._waiters.values() for waiter in waiters)

    def drop_unwanted_keys(self, shortest_seconds: float) -> None:
        """Drop the keys that no waiter waits for any more, and those that would arrive too late.

        Args:
            shortest_seconds: the time that a read takes at least.
        """
        latest = self._loop.time() + shortest_seconds
        for waiter in self.waiters:
            if waiter.deadline < latest:
                waiter.set_error(TimeoutError())
        self._waiters = {
            key: waiters for key, waiters in self._waiters.items() if any(waiter.is_waiting for waiter in waiters)
        }

    def deliver(self, key: bytes, cells: Cells) -> None:
        """Give a row to its waiters. If both attempts of a hedged read return it, the second one is ignored."""
        for waiter in self._waiters.pop(key, ()):
            waiter.set_row(key, cells)

    def finish(self, error: Exception | None) -> None:
        """Answer the remaining waiters: their rows do not exist, or could not be read because of `error`."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        remaining, self._waiters = self._waiters, {}
        for waiters in remaining.values():
            for waiter in waiters:
                waiter.set_error(error) if error else waiter.set_absent()

    def _set_timer(self, deadline: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(deadline, self._expire)
        self._timer_at = deadline

    def _expire(self) -> None:
        """Fail the waiters whose deadline has passed, and set the timer to the next deadline."""
        self._timer = None
        self._timer_at = math.inf
        now = self._loop.time()
        next_deadline = math.inf
        for waiters in self._waiters.values():
            for waiter in waiters:
                if waiter.deadline <= now:
                    waiter.set_error(TimeoutError())
                elif waiter.is_waiting:
                    next_deadline = min(next_deadline, waiter.deadline)
        if next_deadline < math.inf:
            self._set_timer(next_deadline)
        else:
            self._on_unwanted(self)


class Read(Protocol):
    """A read of a batch in flight. It delivers rows to the batch, and then calls `on_end` of `StartRead`."""

    def cancel(self) -> None:
        """Cancel the read. `on_end` is not called."""


OnEnd = Callable[[Exception | None], None]
"""Called once, later than the start, when a read has ended; with the error if it failed."""

StartRead = Callable[[Batch, OnEnd], Read]
"""Starts the read of a batch."""


@dataclass(slots=True)
class _InFlight:
    read: Read
    keys: int
    started: float
    """The event-loop time of the start."""


class Batcher:
    """Collects the keys of lookups that differ in nothing but their keys, and starts a read for each batch of them."""

    def __init__(self, start: StartRead, *, max_keys: int, max_keys_per_read: int) -> None:
        """Create a batcher without keys.

        Args:
            start: starts the read of a batch.
            max_keys: the largest number of keys in all reads in flight. One read may always be made.
            max_keys_per_read: the largest number of keys in one read.
        """
        self._loop = asyncio.get_running_loop()
        self._start = start
        self._max_keys = max_keys
        self._max_keys_per_read = max_keys_per_read
        self._waiting: deque[Batch] = deque()
        self._reads: dict[Batch, _InFlight] = {}
        self._keys = 0
        """The number of keys in all reads in flight."""
        self._recent_seconds: deque[float] = deque(maxlen=_RECENT_READS)
        self._was_full = False
        """True if a waiting batch had to wait for room, so that its keys may be unwanted by now."""
        self._starting = False
        self._collecting: asyncio.TimerHandle | None = None

    def add(self, keys: Collection[bytes], waiter: Waiter) -> None:
        """Add the distinct keys of a lookup to the batches that are read next."""
        if len(keys) > self._max_keys_per_read:
            self._add_parts(sorted(keys), waiter)
        else:
            batch = self._open_batch(keys)
            for key in keys:
                batch.add(key, waiter)
            batch.is_full = len(batch) >= self._max_keys_per_read
        if not self._starting:
            self._schedule()

    def _open_batch(self, keys: Collection[bytes]) -> Batch:
        """The last waiting batch if it has room for the keys, else a new one."""
        if self._waiting and not self._waiting[-1].is_full:
            batch = self._waiting[-1]
            if len(batch) + sum(key not in batch for key in keys) <= self._max_keys_per_read:
                return batch
            batch.is_full = True
        batch = Batch(self._cancel)
        self._waiting.append(batch)
        return batch

    def _add_parts(self, keys: list[bytes], waiter: Waiter) -> None:
        """Cut keys into the fewest batches, of equal sizes. Sorted keys that follow each other are on one server."""
        if self._waiting:
            # The parts are not to wait behind a batch that waits for more keys.
            self._waiting[-1].is_full = True
        parts = -(-len(keys) // self._max_keys_per_read)
        for n in range(parts):
            batch = Batch(self._cancel)
            batch.fill(keys[n * len(keys) // parts : (n + 1) * len(keys) // parts], waiter)
            self._waiting.append(batch)

    def _schedule(self) -> None:
        """Schedule the waiting batches: at the end of this event-loop iteration, or when enough keys may have come."""
        batch = self._waiting[0]
        if not self._find_room(batch):
            return
        if batch.is_full or len(self._reads) < _EAGER_READS:
            self._starting = True
            self._loop.call_soon(self._start_eagerly)
        elif self._collecting is None:
            self._collecting = self._loop.call_later(_COLLECT_SECONDS, self._start_collected)

    def _find_room(self, batch: Batch) -> bool:
        """Return False, and note it, if the keys of a batch have to wait for reads to end."""
        if not self._reads or self._keys + len(batch) <= self._max_keys:
            return True
        self._was_full = True
        return False

    def _start_eagerly(self) -> None:
        self._starting = False
        while self._waiting and (self._waiting[0].is_full or len(self._reads) < _EAGER_READS):
            if not self._start_next():
                return
        if self._waiting:
            self._schedule()

    def _start_collected(self) -> None:
        self._collecting = None
        while self._waiting and self._start_next():
            pass

    def _start_next(self) -> bool:
        """Start the read of the next batch. Return False if there is no room for its keys."""
        batch = self._waiting[0]
        if not self._find_room(batch):
            return False
        self._waiting.popleft()
        if self._was_full or batch.deadline <= self._loop.time():
            batch.drop_unwanted_keys(min(self._recent_seconds, default=0.0))
        if not self._waiting:
            self._was_full = False
        if keys := len(batch):
            self._keys += keys
            self._reads[batch] = _InFlight(self._start(batch, partial(self._end, batch)), keys, self._loop.time())
        else:
            batch.finish(None)
        return True

    def _end(self, batch: Batch, error: Exception | None) -> None:
        read = self._reads.pop(batch)
        self._keys -= read.keys
        if error is None:
            self._recent_seconds.append(self._loop.time() - read.started)
        self._finish(batch, error)

    def _finish(self, batch: Batch, error: Exception | None) -> None:
        batch.finish(error)
        if self._waiting and not self._starting:
            self._schedule()

    def _cancel(self, batch: Batch) -> None:
        """Cancel the read of a batch without waiters. A batch that is not in flight is dropped when it is started."""
        if read := self._reads.pop(batch, None):
            read.read.cancel()
            self._keys -= read.keys
            self._finish(batch, None)
