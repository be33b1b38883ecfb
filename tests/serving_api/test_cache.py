"""The cache of predictions: its answers, its size, and its warming after a promotion."""

import asyncio
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prediction_store.lifecycle import ModelState, Receipt, Status, VersionRecord
from serving_api.store.cache import Cache
from serving_api.telemetry.metrics import Metrics
from tests.serving_api.conftest import VERSION
from tests.waiting import eventually

NAME = ("m", 1)

entries = st.tuples(
    st.sampled_from([("m", 1), ("m", 2), ("n", 1)]), st.binary(min_size=1, max_size=3), st.binary(max_size=400)
)
steps = st.lists(st.tuples(st.sampled_from(["get", "put"]), entries), max_size=60)


@given(steps, st.integers(0, 3000))
def test_the_cache_is_never_wrong_and_never_too_large(steps, max_bytes):
    cache = Cache(max_bytes, Metrics())
    truth = {}
    for action, (name, key, drawn) in steps:
        # The predictions of a version never change.
        payload = truth.setdefault((name, key), drawn)
        size = 350 + len(key) + len(payload)
        if action == "put":
            cache.put(name, key, payload)
            assert (cache.get(name, key) == payload) is (size <= max_bytes)
        else:
            assert cache.get(name, key) in (None, payload)
    kept = [(name, key) for name, key in truth if cache.get(name, key) is not None]
    assert sum(350 + len(key) + len(truth[name, key]) for name, key in kept) <= max_bytes


def test_the_least_recently_used_entry_is_evicted():
    cache = Cache(3 * 352, Metrics())
    for key in (b"a", b"b", b"c"):
        cache.put(NAME, key, b"1")
    cache.get(NAME, b"a")
    cache.put(NAME, b"d", b"1")
    assert [cache.get(NAME, key) for key in (b"a", b"b", b"c", b"d")] == [b"1", None, b"1", b"1"]
    assert cache.most_recent(NAME, 2) == [b"d", b"c"]


def test_the_metric_of_its_size_is_the_memory_that_it_takes():
    metrics = Metrics()
    cache = Cache(10_000_000, metrics)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for n in range(20_000):
        cache.put(NAME, b"%08d" % n, b'{"probability":0.%04d}' % n)
    taken = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    (said,) = (sample.value for family in metrics.cache_bytes.collect() for sample in family.samples)
    assert 0.5 < taken / said < 1.1


@pytest.mark.asyncio
async def test_without_a_cache_every_lookup_is_read(store, serve):
    model = store.model()
    store.refresh(model, {"a": b"1"})
    async with serve(store.address) as client:
        for _ in range(3):
            assert (await client.lookup(model, "a")).json()["prediction"] == 1
        assert await client.metric("foreserve_read_keys_count") == 3
        assert await client.metric("foreserve_cache_misses_total") == 0


@pytest.mark.asyncio
async def test_a_repeated_lookup_is_answered_without_a_read(store, serve):
    model = store.model("shared")
    other = store.model("shared")
    store.refresh(model, {"a": b"1", "b": b"2"})
    store.refresh(other, {"a": b"3"})
    async with serve(store.address, cache_bytes=100_000) as client:
        assert (await client.lookup(model, "a")).json()["prediction"] == 1
        assert (await client.lookup(model, "absent")).status_code == 404
        assert await client.metric("foreserve_read_keys_count") == 2
        assert (await client.lookup(model, "a")).json()["prediction"] == 1
        assert (await client.lookup(model, "absent")).status_code == 404
        assert await client.metric("foreserve_read_keys_count") == 2
        assert await client.metric("foreserve_cache_hits_total") == 2
        batch = await client.batch(model, ["b", "a", "absent"])
        assert batch.json()["predictions"] == {"b": 2, "a": 1, "absent": None}
        assert await client.metric("foreserve_read_keys_sum") == 3
        for _ in range(2):
            answer = (await client.get("/v1/entities/shared/a/predictions")).json()["predictions"]
            assert {name: each["prediction"] for name, each in answer.items()} == {model: 1, other: 3}
        assert await client.metric("foreserve_read_keys_sum") == 4
        assert await client.metric("foreserve_cache_bytes") > 4 * 350


@pytest.mark.asyncio
async def test_a_new_version_is_warmed_with_the_entities_of_the_old_one(store, serve):
    model = store.model()
    first = {f"e{n}": b"1" for n in range(50)}
    store.refresh(model, first)
    async with serve(store.address, cache_bytes=1_000_000, max_keys_per_read=20) as client:
        await asyncio.gather(*(client.lookup(model, entity_id) for entity_id in first))
        await client.lookup(model, "gone")
        second = store.refresh(model, dict.fromkeys(first, b"2") | {"gone": b"2"})

        async def warm():
            begun = await client.metric("foreserve_read_keys_count")
            ended = await client.metric("foreserve_stage_seconds_count", stage="bigtable")
            return begun == ended and await client.metric("foreserve_read_keys_sum") == 2 * 51

        await eventually(warm)
        assert await client.metric("foreserve_active_version", model=model) == second
        answers = await asyncio.gather(*(client.lookup(model, entity_id) for entity_id in (*first, "gone")))
        assert {answer.json()["prediction"] for answer in answers} == {2}
        assert await client.metric("foreserve_read_keys_sum") == 2 * 51


@pytest.mark.asyncio
async def test_warming_leaves_room_for_lookups(wire, serve):
    limits = {"cache_bytes": 100_000, "max_in_flight": 10, "max_batch": 10, "deadline_seconds": 10}
    old = [str(n) for n in range(10)]
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **limits) as client:
        await client.batch("m", old)
        wire.hold(*(entity_id.encode() for entity_id in old))
        promoted = VersionRecord(Status.PROMOTED, has_cells=True, receipt=Receipt(1, 0))
        versions = {VERSION: promoted, VERSION + 1: promoted}
        wire.documents["m"] = ModelState(
            "m", "things", active=VERSION + 1, latest=VERSION + 1, versions=versions
        ).to_json()
        await wire.saw(2)
        assert (await client.lookup("m", "new")).status_code == 200
        wire.release(*(entity_id.encode() for entity_id in old))
