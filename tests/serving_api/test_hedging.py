"""Reads that are made a second time: when, how often, and what comes of them."""

import asyncio

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_api.store.hedging import SecondReads
from serving_api.telemetry.metrics import Metrics


@given(st.floats(0, 1), st.lists(st.booleans(), max_size=300))
def test_they_stay_within_the_budget(budget, reads):
    second_reads = SecondReads(budget, Metrics())
    made = 0
    for read, wants_another in enumerate(reads, 1):
        second_reads.note_read()
        made += wants_another and second_reads.take()
        assert made <= 10 + budget * read


def test_the_delay_is_that_of_the_slowest_twentieth():
    second_reads = SecondReads(0.05, Metrics())
    for n in range(499):
        second_reads.note_seconds(n / 1000)
    assert second_reads.delay_seconds is None
    second_reads.note_seconds(0.499)
    assert second_reads.delay_seconds == 0.475


def test_without_a_budget_there_are_none():
    second_reads = SecondReads(0, Metrics())
    for _ in range(500):
        second_reads.note_read()
        second_reads.note_seconds(0.001)
    assert second_reads.delay_seconds is None
    assert not second_reads.take()


@pytest.mark.asyncio
async def test_a_late_read_is_made_again_and_the_first_answer_counts(wire, serve):
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
        for n in range(500):  # from which the service learns how long reads take
            await client.lookup("m", f"{n}")
        slow = await client.lookup("m", "slow")
        assert slow.json()["prediction"] == {"of": "slow"}
        assert stuck.is_set()
        assert await client.metric("foreserve_hedged_reads_total") >= 1
        assert await client.metric("foreserve_hedged_reads_won_total") >= 1
        assert await client.metric("foreserve_read_failures_total") == 0
        assert await client.metric("foreserve_lookups_in_flight") == 0


@pytest.mark.asyncio
async def test_a_read_that_fails_for_the_moment_is_made_again_once(wire, serve):
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
        assert await client.metric("foreserve_hedged_reads_won_total") == 1
        assert await client.metric("foreserve_read_failures_total") == 0


@pytest.mark.asyncio
async def test_a_second_read_asks_only_for_what_has_not_come(wire, serve):
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
        assert len(wire.reads) <= 60 + 10 + 0.05 * 60
