"""The sharing of reads, under every interleaving that Hypothesis thinks of."""

import asyncio
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_api.lanes import Lane

KEYS = [b"%d" % n for n in range(12)]
NEVER = math.inf
TICKS = st.integers(0, 6)


def row_of(key):
    return {"m": b"row " + key}


class ReadError(Exception):
    """A read failed."""


look_up = st.tuples(
    TICKS, st.lists(st.sampled_from(KEYS), min_size=1, max_size=6, unique=True), st.none() | st.integers(1, 3)
)


class SlowReads:
    """Reads that answer slowly, fail at some keys, and check what they are asked."""

    def __init__(self, absent, failing, pauses, max_reads, max_keys):
        self._absent = absent
        self._failing = failing
        self._pauses = itertools.cycle(pauses)
        self._max_reads = max_reads
        self._max_keys = max_keys
        self.in_flight = 0

    async def read(self, keys, _deadline):
        assert 0 < len(keys) <= self._max_keys
        assert len(set(keys)) == len(keys)
        assert self.in_flight < self._max_reads
        self.in_flight += 1
        try:
            for key in sorted(keys):
                await _ticks(next(self._pauses))
                if key in self._failing:
                    raise ReadError
                if key not in self._absent:
                    yield key, row_of(key)
        finally:
            self.in_flight -= 1


@settings(deadline=None)
@given(
    look_ups=st.lists(look_up, min_size=1, max_size=25),
    absent=st.sets(st.sampled_from(KEYS)),
    failing=st.sets(st.sampled_from(KEYS), max_size=2),
    pauses=st.lists(TICKS, min_size=1, max_size=8),
    max_reads=st.integers(1, 3),
    max_keys=st.integers(1, 5),
)
def test_every_look_up_gets_its_own_rows(look_ups, absent, failing, pauses, max_reads, max_keys):
    reads = SlowReads(absent, failing, pauses, max_reads, max_keys)
    lanes = []
    errors = []

    async def look_up_in_lane(keys):
        if not lanes:
            lanes.append(Lane(reads.read, max_reads=max_reads, max_keys=max_keys, when_idle=lanes.pop))
        return await lanes[0].look_up(keys, NEVER)

    async def ask(start, keys, leaves):
        await _ticks(start)
        asking = asyncio.create_task(look_up_in_lane(keys))
        if leaves:
            await _ticks(leaves)
            asking.cancel()
        (answer,) = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(answer, asyncio.CancelledError):
            assert leaves
        elif isinstance(answer, ReadError):
            assert failing
            assert max_keys > 1 or failing.intersection(keys)
        else:
            assert answer == {key: row_of(key) for key in keys if key not in absent}
            assert not failing.intersection(keys)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        async with asyncio.timeout(5):
            await asyncio.gather(*(ask(*one) for one in look_ups))
            await _ticks(100)

    asyncio.run(main())
    assert errors == []
    assert reads.in_flight == 0
    assert lanes == []


@pytest.mark.asyncio
async def test_an_error_that_nobody_foresaw_reaches_the_look_ups():
    async def read(keys, _deadline):
        yield keys[0], row_of(keys[0])
        raise ZeroDivisionError

    lane = Lane(read, max_reads=1, max_keys=10, when_idle=lambda: None)
    look_ups = (lane.look_up([b"a"], NEVER), lane.look_up([b"b"], NEVER))
    first, second = await asyncio.gather(*look_ups, return_exceptions=True)
    assert first == {b"a": row_of(b"a")}
    assert isinstance(second, ZeroDivisionError)


@pytest.mark.asyncio
async def test_the_keys_of_look_ups_that_left_are_not_read():
    asked = []
    going = asyncio.Event()

    async def read(keys, deadline):
        asked.append((keys, deadline))
        await going.wait()
        yield keys[0], row_of(keys[0])

    now = asyncio.get_running_loop().time()
    lane = Lane(read, max_reads=1, max_keys=2, when_idle=lambda: None)
    first = asyncio.create_task(lane.look_up([b"a"], now + 50))
    await _ticks(3)
    late = asyncio.create_task(lane.look_up([b"late", b"c"], now))
    leaving = asyncio.create_task(lane.look_up([b"leaving", b"d"], now + 60))
    staying = asyncio.create_task(lane.look_up([b"c"], now + 70))
    with pytest.raises(TimeoutError):
        await late
    leaving.cancel()
    going.set()
    assert await first == {b"a": row_of(b"a")}
    assert await staying == {b"c": row_of(b"c")}
    assert asked == [((b"a",), now + 50), ((b"c",), now + 70)]


@pytest.mark.asyncio
@pytest.mark.parametrize("turns", range(6))
async def test_a_lane_becomes_idle_once(turns):
    """A look-up comes and leaves at each of the turns of the loop in which the last read ends."""
    going = asyncio.Event()
    idle = []
    in_lane = 0

    async def read(keys, _deadline):
        await going.wait()
        for key in keys:
            yield key, row_of(key)

    async def look_up(key):
        nonlocal in_lane
        in_lane += not idle  # nobody enters a lane that has become idle
        return await lane.look_up([key], NEVER) if not idle else None

    lane = Lane(read, max_reads=2, max_keys=10, when_idle=lambda: idle.append(in_lane))
    first = asyncio.create_task(look_up(b"first"))
    await _ticks(4)
    going.set()
    await _ticks(turns)
    leaving = asyncio.create_task(look_up(b"leaving"))
    await _ticks(1)
    leaving.cancel()
    await asyncio.gather(first, leaving, return_exceptions=True)
    await _ticks(10)
    assert idle == [in_lane]


async def _ticks(ticks):
    for _ in range(ticks):
        await asyncio.sleep(0)
