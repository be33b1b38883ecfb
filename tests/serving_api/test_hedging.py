"""Hedged reads: their delay, their budget and their results."""

import asyncio
import gc
import math
import weakref

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_api.bigtable import CallError
from serving_api.store.batching import Batch, Waiter
from serving_api.store.hedging import Hedging
from serving_api.store.reads import Outage, Reader
from serving_api.telemetry.metrics import Metrics


@given(st.floats(0, 1), st.lists(st.tuples(st.integers(1, 16), st.booleans()), max_size=300))
def test_hedged_reads_stay_within_the_budget_of_keys(budget, reads):
    hedging = Hedging(budget)
    asked = made = 0
    for keys, wants_another in reads:
        hedging.count_read(keys)
        asked += keys
        if wants_another and hedging.spend(keys):
            made += keys
        assert made <= 32 + budget * asked


@pytest.mark.parametrize("keys", [1, 16])
def test_the_delay_is_the_95th_percentile_of_recent_reads_of_that_size(keys):
    hedging = Hedging(0.05)
    for n in range(199):
        hedging.observe(keys, n / 1000)
    assert hedging.delay_seconds(keys) is None
    hedging.observe(keys, 0.199)
    assert hedging.delay_seconds(keys) == 0.190
    assert hedging.delay_seconds(4) is None


def test_large_reads_are_not_late_because_small_ones_are_faster():
    """One percentile for all sizes hedged every read of many keys where a few percent of the reads are such."""
    hedging = Hedging(0.05)
    for n in range(20_000):
        hedging.observe(*((16, 0.008 + n % 7 / 1000) if n % 50 == 0 else (1, 0.003)))
    assert hedging.delay_seconds(1) == 0.003
    assert hedging.delay_seconds(16) > 0.008


def test_without_a_budget_no_read_is_hedged():
    hedging = Hedging(0)
    for _ in range(500):
        hedging.count_read(1)
        hedging.observe(1, 0.001)
    assert hedging.delay_seconds(1) is None
    assert not hedging.spend(1)


class Attempt:
    """An attempt that the test answers."""

    connection = local_port = None

    def __init__(self, receiver):
        self._receiver = receiver

    def cancel(self):
        pass

    def deliver(self, key):
        self._receiver.received(self, [(key, {"m": b"1"})])

    def end(self, error):
        self._receiver.ended(self, error)


class Attempts:
    """A client of Bigtable that records the attempts."""

    is_connected = True

    def __init__(self):
        self.made = []
        self.hedged = asyncio.Event()

    def read_rows(self, _table, _request, _timeout, receiver, _avoid, _app_profile):
        self.made.append(Attempt(receiver))
        if len(self.made) % 2 == 0:
            self.hedged.set()
        return self.made[-1]


def start_to_read(client, hedging):
    """Start to read the row `a`; returns the read, and the future of its error."""
    ended = asyncio.get_running_loop().create_future()
    batch = Batch(lambda _: None)
    batch.add(b"a", Waiter(asyncio.get_running_loop().create_future(), math.inf, 1))
    reader = Reader(
        client=client,
        table="t",
        request=b"",
        app_profiles=("", ""),
        hedging=hedging,
        metrics=Metrics(),
        tracing=None,
        outage=Outage(),
    )
    return reader.read(batch, ended.set_result), ended


@pytest.mark.asyncio
async def test_the_reads_that_are_hedged_count_for_the_delay():
    """Their absence would make the delay shorter and shorter, until the budget is spent on fast reads."""
    hedging, client = Hedging(1), Attempts()
    for _ in range(200):
        hedging.observe(1, 0.001)
    for _ in range(200):
        _, ended = start_to_read(client, hedging)
        await client.hedged.wait()
        client.hedged.clear()
        client.made[-1].deliver(b"a")
        assert await ended is None
    assert hedging.delay_seconds(1) > 0.001


@pytest.mark.asyncio
async def test_a_read_that_has_all_rows_is_not_repeated():
    """A request without row keys would read the whole table."""
    hedging, client = Hedging(1), Attempts()
    _, ended = start_to_read(client, hedging)
    client.made[0].deliver(b"a")
    error = CallError("UNAVAILABLE", "the server is going away", unprocessed=True)
    client.made[0].end(error)
    assert len(client.made) == 1
    assert await ended is error


@pytest.mark.asyncio
async def test_a_read_is_freed_without_the_garbage_collector():
    client = Attempts()
    gc.disable()
    try:
        read, ended = start_to_read(client, Hedging(1))
        freed = weakref.ref(read)
        del read
        client.made[0].deliver(b"a")
        client.made.pop().end(None)
        assert await ended is None
        assert freed() is None
    finally:
        gc.enable()


@pytest.mark.asyncio
async def test_a_slow_read_is_hedged_and_the_first_answer_counts(wire, serve):
    stuck = asyncio.Event()
    answer = wire.read_rows

    async def read_rows(request, context):
        if b"slow" in request.rows.row_keys and not stuck.is_set():
            stuck.set()
            await asyncio.sleep(60)
        async for response in answer(request, context):
            yield response

    wire.read_rows = read_rows
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", deadline_seconds=20) as client:
        # The service computes the delay from 200 reads. The last ones may not have ended when their rows are answered.
        for n in range(210):
            await client.lookup("m", f"{n}")
        slow = await client.lookup("m", "slow")
        assert slow.json()["prediction"] == {"of": "slow"}
        assert stuck.is_set()
        assert await client.metric("foreserve_hedged_reads_total") >= 1
        assert await client.metric("foreserve_hedged_reads_won_total") >= 1
        assert await client.metric("foreserve_read_failures_total") == 0
        assert await client.metric("foreserve_lookups_in_flight") == 0


@pytest.mark.asyncio
async def test_a_read_with_a_transient_failure_is_hedged_once(wire, serve):
    wire.failing[b"bad"] = grpc.StatusCode.UNAVAILABLE
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.lookup("m", "bad")).status_code == 503
        assert wire.reads == [[b"bad"], [b"bad"]]
        answer = wire.read_rows

        async def recovering(request, context):
            if b"bad" in request.rows.row_keys and wire.failing:
                wire.failing.clear()
                await context.abort(grpc.StatusCode.UNAVAILABLE, "just now")
            async for response in answer(request, context):
                yield response

        wire.read_rows = recovering
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.lookup("m", "bad")).json()["prediction"] == {"of": "bad"}
        assert not wire.failing
        # The read ends after its row is answered.
        await client.until_metric("foreserve_hedged_reads_won_total", 1)
        assert await client.metric("foreserve_read_failures_total") == 0


@pytest.mark.asyncio
@pytest.mark.http2_client
async def test_a_read_that_failed_is_hedged_on_another_connection(wire, serve):
    answer, peers = wire.read_rows, []

    async def failing(request, context):
        if b"bad" in request.rows.row_keys:
            peers.append(context.peer())
            await context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
        async for response in answer(request, context):
            yield response

    wire.read_rows = failing
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for _ in range(3):
            assert (await client.lookup("m", "bad")).status_code == 503
    assert len(peers) == 6
    assert all(first != second for first, second in zip(peers[::2], peers[1::2], strict=True))


@pytest.mark.asyncio
async def test_a_hedged_read_requests_only_the_rows_that_are_missing(wire, serve):
    wire.failing[b"z"] = grpc.StatusCode.UNAVAILABLE
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.batch("m", ["a", "b", "z"])).status_code == 503
        assert [sorted(keys) for keys in wire.reads] == [[b"a", b"b", b"z"], [b"z"]]


@pytest.mark.asyncio
async def test_an_outage_is_not_made_worse(wire, serve):
    wire.failing.update((b"%d" % n, grpc.StatusCode.UNAVAILABLE) for n in range(60))
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", hedge_budget=0.05) as client:
        for n in range(60):
            assert (await client.lookup("m", f"{n}")).status_code == 503
        assert len(wire.reads) <= 60 + 32 + 0.05 * 60
