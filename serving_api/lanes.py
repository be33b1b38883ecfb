"""Makes one read of look-ups that come at the same time.

While a lane has fewer reads in flight than it may, a look-up goes out at once; otherwise its keys wait for a read to
end, and go out with all others that came meanwhile. So a read grows with the load, and what costs most, the call, is
shared.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from functools import partial
from itertools import islice

Cells = dict[str, bytes]
"""The predictions in a row, by model; empty: a tombstone."""

Rows = AsyncIterator[tuple[bytes, Cells]]
"""The rows that there are, as they arrive, with their keys."""


class Lane:
    """Look-ups that can share a read, because they differ in nothing but their keys."""

    def __init__(
        self,
        read: Callable[[Collection[bytes], float], Rows],
        *,
        max_reads: int,
        max_keys: int,
        when_idle: Callable[[], None],
    ) -> None:
        """Open a lane.

        Args:
            read: reads the rows with some keys until a deadline, when nobody waits for them any more. What it raises
                goes to the look-ups that wait for those rows.
            max_reads: how many reads may be in flight.
            max_keys: how many keys one read may have.
            when_idle: called each time that the last look-up has left.
        """
        self._read = read
        self._max_reads = max_reads
        self._max_keys = max_keys
        self._when_idle = when_idle
        self._waiting: dict[bytes, list[_Waiter]] = {}
        self._reads: set[asyncio.Task[None]] = set()
        self._starting = False

    async def look_up(self, keys: Collection[bytes], deadline: float) -> dict[bytes, Cells]:
        """The rows with the given keys, at least one and no two the same; those that there are not are left out.

        Cancelling this leaves a read that is in flight to the other look-ups in it.

        Raises:
            TimeoutError: the rows did not arrive before `deadline`, a time of the event loop.
        """
        waiter = _Waiter(len(keys), deadline)
        for key in keys:
            self._waiting.setdefault(key, []).append(waiter)
        if not self._starting and len(self._reads) < self._max_reads:
            self._starting = True  # at the end of this turn of the loop, with all look-ups that came in it
            asyncio.get_running_loop().call_soon(self._start_reads)
        async with asyncio.timeout_at(deadline):
            return await waiter.rows

    def _start_reads(self) -> None:
        self._starting = False
        while len(self._reads) < self._max_reads and (asked := self._next_keys()):
            read = asyncio.create_task(self._deliver(asked))
            self._reads.add(read)
            read.add_done_callback(partial(self._end_read, asked))
        if not self._reads:
            self._when_idle()

    def _next_keys(self) -> "dict[bytes, list[_Waiter]]":
        """Take the keys that have waited longest, except those that nobody waits for any more."""
        wanted: dict[bytes, list[_Waiter]] = {}
        while self._waiting and not wanted:
            if len(self._waiting) <= self._max_keys:
                taken, self._waiting = self._waiting, {}
            else:
                taken = {key: self._waiting.pop(key) for key in list(islice(self._waiting, self._max_keys))}
            wanted = {k: waiters for k, waiters in taken.items() if not all(w.rows.done() for w in waiters)}
        return wanted

    async def _deliver(self, asked: "dict[bytes, list[_Waiter]]") -> None:
        """Read rows and hand each out when it arrives, leaving in `asked` the keys without one."""
        deadline = max(waiter.deadline for waiters in asked.values() for waiter in waiters)
        async for key, cells in self._read(tuple(asked), deadline):
            for waiter in asked.pop(key, ()):
                waiter.arrived(key, cells)

    def _end_read(self, asked: "dict[bytes, list[_Waiter]]", read: asyncio.Task[None]) -> None:
        self._reads.remove(read)
        if not read.cancelled():
            failure = read.exception()
            for waiters in asked.values():
                for waiter in waiters:
                    waiter.failed(failure) if failure else waiter.absent()
        if not self._starting:
            self._start_reads()


class _Waiter:
    """A look-up that waits for its rows."""

    __slots__ = ("_found", "_outstanding", "deadline", "rows")

    def __init__(self, keys: int, deadline: float) -> None:
        self.deadline = deadline
        self.rows: asyncio.Future[dict[bytes, Cells]] = asyncio.get_running_loop().create_future()
        self._found: dict[bytes, Cells] = {}
        self._outstanding = keys

    def arrived(self, key: bytes, cells: Cells) -> None:
        self._found[key] = cells
        self.absent()

    def absent(self) -> None:
        self._outstanding -= 1
        if not self._outstanding and not self.rows.done():
            self.rows.set_result(self._found)

    def failed(self, failure: BaseException) -> None:
        if not self.rows.done():
            self.rows.set_exception(failure)
