"""Batching of lookups, under interleavings that Hypothesis generates."""

import asyncio
import itertools
import math

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from serving_api.settings import Settings
from serving_api.store.batching import Batcher, Waiter
from tests.serving_api.virtual_time import run_in_virtual_time
from tests.waiting import eventually

KEYS = [b"%d" % n for n in range(12)]
NEVER = math.inf
TICKS = st.integers(0, 6)


def row_of(key):
    return {"m": b"row " + key}


class ReadError(Exception):
    """A read failed."""


lookup = st.tuples(
    TICKS, st.lists(st.sampled_from(KEYS), min_size=1, max_size=6, unique=True), st.none() | st.integers(1, 3)
)


async def lookup_in(batcher, keys, deadline=NEVER):
    """The rows that exist of some keys."""
    arriving = asyncio.get_running_loop().create_future()
    batcher.add(keys, Waiter(arriving, deadline, len(keys)))
    return await arriving


class SlowReads:
    """Reads that answer slowly, fail at some keys, deliver rows twice, and check their batches."""

    def __init__(self, absent, failing, pauses, max_keys, max_keys_per_read):
        self._absent = absent
        self._failing = failing
        self._pauses = itertools.cycle(pauses)
        self._max_keys = max_keys
        self._max_keys_per_read = max_keys_per_read
        self.in_flight = 0
        """The number of keys of all reads in flight."""

    def start(self, batch, on_end):
        assert 0 < len(batch) <= self._max_keys_per_read
        assert self.in_flight == 0 or self.in_flight + len(batch) <= self._max_keys
        self.in_flight += len(batch)
        return asyncio.create_task(self._read(batch, on_end))

    async def _read(self, batch, on_end):
        error, keys = None, len(batch)
        try:
            for key in sorted(batch.keys):
                await _ticks(next(self._pauses))
                if key in self._failing:
                    error = ReadError()
                    break
                if key not in self._absent:
                    batch.deliver(key, row_of(key))
                    batch.deliver(key, {"m": b"late"})
        finally:
            self.in_flight -= keys
        on_end(error)


@settings(deadline=None)
@given(
    lookups=st.lists(lookup, min_size=1, max_size=25),
    absent=st.sets(st.sampled_from(KEYS)),
    failing=st.sets(st.sampled_from(KEYS), max_size=2),
    pauses=st.lists(TICKS, min_size=1, max_size=8),
    max_keys=st.integers(1, 12),
    max_keys_per_read=st.integers(1, 5),
)
def test_every_lookup_gets_its_own_rows(lookups, absent, failing, pauses, max_keys, max_keys_per_read):
    reads = SlowReads(absent, failing, pauses, max_keys, max_keys_per_read)
    errors = []

    async def ask(batcher, start, keys, leaves):
        await _ticks(start)
        asking = asyncio.create_task(lookup_in(batcher, keys))
        if leaves:
            await _ticks(leaves)
            asking.cancel()
        (answer,) = await asyncio.gather(asking, return_exceptions=True)
        if isinstance(answer, asyncio.CancelledError):
            assert leaves
        elif isinstance(answer, ReadError):
            assert failing
            assert max_keys_per_read > 1 or failing.intersection(keys)
        else:
            assert answer == {key: row_of(key) for key in keys if key not in absent}
            assert not failing.intersection(keys)

    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        batcher = Batcher(reads.start, max_keys=max_keys, max_keys_per_read=max_keys_per_read)
        async with asyncio.timeout(5):
            await asyncio.gather(*(ask(batcher, *one) for one in lookups))
            await _ticks(100)

    asyncio.run(main())
    assert errors == []
    assert reads.in_flight == 0


class HeldReads:
    """Reads that wait for `go_on`, and record their keys and deadlines."""

    def __init__(self):
        self.asked = []
        self.cancelled = 0
        self._held = []

    def start(self, batch, on_end):
        self.asked.append((list(batch.keys), batch.deadline))
        self._held.append((batch, on_end))
        return self

    def cancel(self):
        self.cancelled += 1
        self._held.pop(0)

    async def four_asked(self):
        return len(self.asked) == 4

    def go_on(self):
        batch, on_end = self._held.pop(0)
        for key in list(batch.keys):
            batch.deliver(key, row_of(key))
        on_end(None)


@pytest.mark.asyncio
async def test_the_keys_of_cancelled_lookups_are_not_read():
    reads = HeldReads()
    now = asyncio.get_running_loop().time()
    batcher = Batcher(reads.start, max_keys=1, max_keys_per_read=10)
    first = asyncio.create_task(lookup_in(batcher, [b"a"], now + 50))
    await _ticks(3)
    late = asyncio.create_task(lookup_in(batcher, [b"late", b"c"], now))
    leaving = asyncio.create_task(lookup_in(batcher, [b"leaving", b"d"], now + 60))
    staying = asyncio.create_task(lookup_in(batcher, [b"c"], now + 70))
    with pytest.raises(TimeoutError):
        await late
    leaving.cancel()
    await _ticks(1)
    reads.go_on()
    await _ticks(2)
    reads.go_on()
    assert await first == {b"a": row_of(b"a")}
    assert await staying == {b"c": row_of(b"c")}
    assert reads.asked == [([b"a"], now + 50), ([b"c"], now + 70)]


@pytest.mark.asyncio
async def test_a_read_whose_waiters_are_all_late_is_cancelled_and_the_next_one_starts():
    reads = HeldReads()
    now = asyncio.get_running_loop().time()
    batcher = Batcher(reads.start, max_keys=1, max_keys_per_read=10)
    soon = [asyncio.create_task(lookup_in(batcher, [key], now + 0.02)) for key in (b"a", b"b")]
    await _ticks(3)
    waiting = asyncio.create_task(lookup_in(batcher, [b"c"], now + 60))
    for task in soon:
        with pytest.raises(TimeoutError):
            await task
    await _ticks(2)
    assert reads.cancelled == 1
    reads.go_on()
    assert await waiting == {b"c": row_of(b"c")}


async def three_reads(batcher):
    """Start the lookups of three keys, each with a read of its own; return their tasks."""
    lookups = []
    for key in (b"a", b"b", b"c"):
        lookups.append(asyncio.create_task(lookup_in(batcher, [key])))
        await _ticks(3)
    return lookups


@pytest.mark.asyncio
async def test_keys_are_collected_while_reads_are_in_flight_but_not_for_long():
    reads = HeldReads()
    batcher = Batcher(reads.start, max_keys=50, max_keys_per_read=10)
    lookups = await three_reads(batcher)
    lookups += [asyncio.create_task(lookup_in(batcher, [key])) for key in (b"d", b"e")]
    await _ticks(3)
    assert [keys for keys, _ in reads.asked] == [[b"a"], [b"b"], [b"c"]]
    await eventually(reads.four_asked)
    assert reads.asked[3][0] == [b"d", b"e"]
    lookups += [asyncio.create_task(lookup_in(batcher, [key])) for key in (b"f", b"g")]
    await _ticks(3)
    reads.go_on()
    reads.go_on()
    # Two reads are in flight now, so the next one starts at once.
    await _ticks(3)
    assert reads.asked[4][0] == [b"f", b"g"]
    for _ in range(3):
        reads.go_on()
    assert await asyncio.gather(*lookups) == [{key: row_of(key)} for key in (b"a", b"b", b"c", b"d", b"e", b"f", b"g")]


def test_keys_whose_lookups_end_while_they_are_collected_are_not_read():
    """Nothing would cancel that read."""

    async def main():
        reads = HeldReads()
        batcher = Batcher(reads.start, max_keys=50, max_keys_per_read=10)
        lookups = await three_reads(batcher)
        with pytest.raises(TimeoutError):
            await lookup_in(batcher, [b"late"], asyncio.get_running_loop().time() + 0.0005)
        await asyncio.sleep(1)
        lookups.append(asyncio.create_task(lookup_in(batcher, [b"d"])))
        await asyncio.sleep(1)
        assert [keys for keys, _ in reads.asked] == [[b"a"], [b"b"], [b"c"], [b"d"]]
        for _ in lookups:
            reads.go_on()
        await asyncio.gather(*lookups)

    run_in_virtual_time(main())


def test_a_deadline_that_has_passed_is_like_any_other():
    """uvloop runs a timer for a past time as a plain callback."""

    async def main():
        reads = HeldReads()
        batcher = Batcher(reads.start, max_keys=1, max_keys_per_read=10)
        now = asyncio.get_running_loop().time()
        late = [asyncio.create_task(lookup_in(batcher, [b"a", b"b"], now)) for _ in range(2)]
        patient = asyncio.create_task(lookup_in(batcher, [b"a"], now + 60))
        for task in late:
            with pytest.raises(TimeoutError):
                await task
        reads.go_on()
        assert await patient == {b"a": row_of(b"a")}

    uvloop.run(main())


@pytest.mark.asyncio
async def test_each_lookup_of_a_read_has_its_own_deadline():
    reads = HeldReads()
    now = asyncio.get_running_loop().time()
    batcher = Batcher(reads.start, max_keys=1, max_keys_per_read=10)
    patient = asyncio.create_task(lookup_in(batcher, [b"a", b"b"], now + 60))
    hasty = asyncio.create_task(lookup_in(batcher, [b"a"], now + 0.01))
    with pytest.raises(TimeoutError):
        await hasty
    assert not patient.done()
    reads.go_on()
    assert await patient == {b"a": row_of(b"a"), b"b": row_of(b"b")}


@pytest.mark.asyncio
async def test_a_large_lookup_is_read_in_even_parts_of_neighbours_at_the_same_time():
    reads = HeldReads()
    batcher = Batcher(reads.start, max_keys=100, max_keys_per_read=16)
    keys = [b"%03d" % n for n in range(50)]
    lookup = asyncio.create_task(lookup_in(batcher, keys[::-1]))
    await _ticks(3)
    assert [keys for keys, _ in reads.asked] == [keys[:12], keys[12:25], keys[25:37], keys[37:]]
    for _ in range(4):
        reads.go_on()
    assert await lookup == {key: row_of(key) for key in keys}


@pytest.mark.asyncio
async def test_a_large_lookup_does_not_wait_for_the_keys_of_others():
    reads = HeldReads()
    batcher = Batcher(reads.start, max_keys=100, max_keys_per_read=2)
    lookups = []
    for key in (b"1", b"2", b"3", b"collected"):
        lookups.append(asyncio.create_task(lookup_in(batcher, [key])))
        await _ticks(3)
    assert len(reads.asked) == 3
    lookups.append(asyncio.create_task(lookup_in(batcher, [b"a", b"b", b"c"])))
    await _ticks(3)
    assert [keys for keys, _ in reads.asked[3:]] == [[b"collected"], [b"a"], [b"b", b"c"]]
    for _ in range(6):
        reads.go_on()
    await asyncio.gather(*lookups)


def test_keys_that_cannot_arrive_in_time_are_not_sent():
    """The reads take 50 ms. The keys that wait for them have 30 ms left, then 100."""

    async def main():
        asked = []

        def start(batch, on_end):
            asked.append(list(batch.keys))
            return asyncio.get_running_loop().call_later(0.05, on_end, None)

        batcher = Batcher(start, max_keys=1, max_keys_per_read=1)
        now = asyncio.get_running_loop().time()
        first = asyncio.create_task(lookup_in(batcher, [b"first"], now + 10))
        await asyncio.sleep(0.01)
        late = asyncio.create_task(lookup_in(batcher, [b"late"], now + 0.08))
        patient = asyncio.create_task(lookup_in(batcher, [b"patient"], now + 0.15))
        with pytest.raises(TimeoutError):
            await late
        assert asyncio.get_running_loop().time() < now + 0.06
        assert await asyncio.gather(first, patient) == [{}, {}]
        assert asked == [[b"first"], [b"patient"]]

    run_in_virtual_time(main())


class SequentialBigtable:
    """Reads as Bigtable serves them: a cost per call, and one key of a call after the other."""

    def __init__(self, call_seconds, key_seconds):
        self.call_seconds = call_seconds
        self.key_seconds = key_seconds

    def start(self, batch, on_end):
        seconds = self.call_seconds + self.key_seconds * len(batch)
        return asyncio.get_running_loop().call_later(seconds, on_end, None)


PER_SECOND = 4_000


def late_of(bigtable, lookups, *, recovers_after=math.inf):
    """The times at which lookups failed, at the rate of a busy process with the default settings, in virtual time."""

    async def main():
        loop = asyncio.get_running_loop()
        defaults = Settings.model_fields
        batcher = Batcher(
            bigtable.start,
            max_keys=defaults["max_keys_per_version"].default,
            max_keys_per_read=defaults["max_keys_per_read"].default,
        )
        started = loop.time()
        in_flight, failed = 0, []

        async def look_up(n):
            nonlocal in_flight
            if in_flight >= defaults["max_in_flight"].default:
                failed.append(loop.time() - started)
                return
            in_flight += 1
            try:
                await lookup_in(batcher, [b"%d" % n], loop.time() + 1)
            except TimeoutError:
                failed.append(loop.time() - started)
            finally:
                in_flight -= 1

        tasks = []
        for n in range(lookups):
            await asyncio.sleep(max(0, started + n / PER_SECOND - loop.time()))
            if n / PER_SECOND >= recovers_after:
                bigtable.call_seconds, bigtable.key_seconds = 0.003, 0.0003
            tasks.append(asyncio.create_task(look_up(n)))
        await asyncio.gather(*tasks)
        return failed

    return run_in_virtual_time(main())


@pytest.mark.slow
@pytest.mark.parametrize(("call_ms", "key_ms"), [(3, 0.3), (50, 10), (50, 20), (100, 20)])
def test_a_slow_bigtable_does_not_make_lookups_late(call_ms, key_ms):
    """Reads of up to 500 keys, 32 at a time, made most of them late at 50 ms a call and 10 ms a key."""
    late = late_of(SequentialBigtable(call_ms / 1000, key_ms / 1000), 8_000)
    assert len(late) <= 80


@pytest.mark.parametrize(("keys", "most_ms"), [(1, 3.3), (100, 7.5), (1000, 7.8)])
def test_a_large_lookup_takes_as_long_as_its_largest_part(keys, most_ms):
    """One read of all keys would take 33 ms for 100, and 303 ms for 1,000."""

    async def main():
        defaults = Settings.model_fields
        batcher = Batcher(
            SequentialBigtable(0.003, 0.0003).start,
            max_keys=defaults["max_keys_per_version"].default,
            max_keys_per_read=defaults["max_keys_per_read"].default,
        )
        loop = asyncio.get_running_loop()
        await lookup_in(batcher, [b"%d" % n for n in range(keys)], loop.time() + 1)
        return loop.time() * 1000

    assert run_in_virtual_time(main()) == pytest.approx(most_ms)


@pytest.mark.slow
def test_no_lookup_is_late_once_bigtable_has_recovered():
    """The service is overloaded at 500 ms a call and 100 ms a key. Lookups of that time end with their deadline."""
    late = late_of(SequentialBigtable(0.5, 0.1), 16_000, recovers_after=1.0)
    assert late
    assert max(late) <= 2.0


async def _ticks(ticks):
    for _ in range(ticks):
        await asyncio.sleep(0)
