"""Lookups that share reads, and lookups while Bigtable is slow, failing or unreachable."""

import asyncio
from contextlib import ExitStack

import grpc
import pytest

from prediction_store.lifecycle import ModelState
from tests.servers import bigtable_server
from tests.store import Store

pytestmark = pytest.mark.asyncio


async def test_without_load_every_lookup_is_a_read(store, serve):
    model = store.model()
    store.refresh(model, {"a": b"1"})
    async with serve(store.address) as client:
        for _ in range(5):
            await client.lookup(model, "a")
        assert await client.metric("foreserve_read_keys_count") == 5
        assert await client.metric("foreserve_read_keys_sum") == 5


async def test_under_load_lookups_share_reads(store, serve):
    model = store.model()
    store.refresh(model, {f"e{n}": b"%d" % n for n in range(100)})
    async with serve(store.address, deadline_seconds=10) as client:
        responses = await asyncio.gather(*(client.lookup(model, f"e{n}") for n in range(100)))
        assert [response.json()["prediction"] for response in responses] == list(range(100))
        assert await client.metric("foreserve_read_keys_count") < 80
        assert await client.metric("foreserve_lookups_in_flight") == 0


async def test_waiting_keys_are_read_together_and_once(wire, serve):
    wire.hold(b"first")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", max_keys_per_version=1) as client:
        first = asyncio.create_task(client.lookup("m", "first"))
        await wire.saw(1)
        waiting = [asyncio.create_task(client.lookup("m", i)) for i in ("b", "c", "b", "absent", "b")]
        await client.until_metric("foreserve_lookups_in_flight", 6)
        wire.release(b"first")
        answers = [(await asking).json().get("prediction") for asking in (first, *waiting)]
    assert answers == [{"of": "first"}, {"of": "b"}, {"of": "c"}, {"of": "b"}, None, {"of": "b"}]
    assert [sorted(keys) for keys in wire.reads] == [[b"first"], [b"absent", b"b", b"c"]]


async def test_a_row_is_answered_when_it_arrives(wire, serve):
    wire.hold(b"first", b"slow")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", max_keys_per_version=1) as client:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.lookup("m", "first"))
            await wire.saw(1)
            fast = tasks.create_task(client.lookup("m", "fast"))
            slow = tasks.create_task(client.lookup("m", "slow"))
            await client.until_metric("foreserve_lookups_in_flight", 3)
            wire.release(b"first")
            assert (await fast).json()["prediction"] == {"of": "fast"}
            assert not slow.done()
            wire.release(b"slow")
        assert slow.result().json()["prediction"] == {"of": "slow"}
    assert wire.reads[1:] == [[b"fast", b"slow"]] or wire.reads[1:] == [[b"slow", b"fast"]]


async def test_a_client_that_disconnects_does_not_cancel_the_read_of_others(wire, serve):
    wire.hold(b"a")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        leaving = asyncio.create_task(client.lookup("m", "a"))
        staying = asyncio.create_task(client.lookup("m", "a"))
        await client.until_metric("foreserve_lookups_in_flight", 2)
        leaving.cancel()
        await asyncio.wait((leaving,))
        wire.release(b"a")
        assert (await staying).json()["prediction"] == {"of": "a"}


async def test_a_read_that_fails_fails_only_its_own_lookups(wire, serve):
    wire.failing[b"bad"] = grpc.StatusCode.INTERNAL
    wire.hold(b"good")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", max_keys_per_version=2) as client:
        good = asyncio.create_task(client.lookup("m", "good"))
        await wire.saw(1)
        bad = await client.lookup("m", "bad")
        wire.release(b"good")
        assert (await good).status_code == 200
        assert (bad.status_code, bad.json()["title"]) == (503, "Store unavailable")
        assert bad.headers["retry-after"] == "1"
        assert "INTERNAL" in bad.json()["detail"]
        assert await client.metric("foreserve_read_failures_total", code="INTERNAL") == 1
        assert (await client.lookup("m", "good")).status_code == 200


async def test_a_read_that_never_ends_is_cancelled_at_the_deadline(wire, serve):
    wire.hold(b"a", b"b")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", deadline_seconds=0.2) as client:
        for response in (await client.lookup("m", "a"), await client.batch("m", ["a", "c"])):
            assert response.headers["content-type"] == "application/problem+json"
            assert (response.status_code, response.json()["title"]) == (504, "Deadline exceeded")
        assert (await client.get("/readyz")).status_code == 200
        assert await client.metric("foreserve_request_seconds_count", status="504") == 2
        wire.release(b"a")
        assert (await client.lookup("m", "a")).status_code == 200


async def test_lookups_that_wait_for_a_read_end_at_the_deadline(wire, serve):
    wire.hold(b"a")
    limits = {"deadline_seconds": 0.3, "max_keys_per_version": 1, "max_keys_per_read": 1}
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **limits) as client:
        first = asyncio.create_task(client.lookup("m", "a"))
        await wire.saw(1)
        wire.hold(b"b", b"c")
        waiting = await asyncio.gather(client.lookup("m", "b"), client.lookup("m", "c"), first)
        assert {response.status_code for response in waiting} == {504}
        assert (await client.lookup("m", "d")).status_code == 200


async def test_lookups_above_the_limit_are_refused_at_once(wire, serve):
    wire.hold(b"a")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", max_in_flight=3, max_batch=2) as client:
        held = [asyncio.create_task(client.lookup("m", "a")) for _ in range(2)]
        await client.until_metric("foreserve_lookups_in_flight", 2)
        refused = await client.batch("m", ["b", "c"])
        assert (refused.status_code, refused.json()["title"]) == (503, "Overloaded")
        assert refused.headers["retry-after"] == "1"
        assert (await client.lookup("m", "b")).status_code == 200
        assert await client.metric("foreserve_requests_refused_total") == 1
        wire.release(b"a")
        assert [(await task).status_code for task in held] == [200, 200]
        assert (await client.batch("m", ["b", "c"])).status_code == 200


async def test_the_registry_is_unreachable_at_the_start(wire, serve):
    async with wire.listening() as port:
        pass
    async with serve(f"127.0.0.1:{port}") as client:
        assert (await client.get("/healthz")).status_code == 200
        for path in ("/readyz", "/v1/models", "/v1/models/m/predictions/a", "/v1/entities/things/a/predictions"):
            response = await client.get(path)
            assert response.status_code == 503
            assert response.headers["content-type"] == "application/problem+json"
        assert (await client.get("/metrics")).status_code == 200
        async with wire.listening(port):
            await client.until("/readyz", 200)
            assert (await client.lookup("m", "a")).status_code == 200


async def test_an_invalid_document_leaves_the_model_in_its_last_state(wire, serve):
    good = wire.documents["m"]
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for broken in (
            b"{",
            b"[]",
            b"{}",
            good.replace(b'"active":', b'"active":"x",'),
            good.replace(b'"active":1', b'"active":9'),
            good.replace(b'"model":"m"', b'"model":"other"'),
            good.replace(b'"model":"m"', b'"model":"m","of_a_later_release":1'),
        ):
            wire.documents = {"m": broken, "new": broken}
            await client.until_metric("foreserve_broken_models", 2)
            assert (await client.lookup("m", "a")).status_code == 200
            response = await client.lookup("new", "a")
            assert (response.status_code, response.json()["title"]) == (503, "Model unavailable")
            assert set((await client.get("/readyz")).json()["broken"]) == {"m", "new"}
            wire.documents = {"m": good}
            await client.until_metric("foreserve_broken_models", 0)
            assert (await client.lookup("new", "a")).status_code == 404


async def test_a_model_that_is_removed_from_the_registry_is_not_served(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.lookup("m", "a")).status_code == 200
        wire.documents = {"n": ModelState("n", "things").to_json()}
        await client.until("/v1/models/m/predictions/a", 404)
        assert (await client.get("/v1/entities/things/a/predictions")).status_code == 404


async def test_bigtable_stops_and_starts_again(serve):
    with ExitStack() as first, ExitStack() as second:
        address = first.enter_context(bigtable_server())
        store = Store(address)
        model = store.model()
        store.refresh(model, {"a": b"1"})
        store.close()
        async with serve(address) as client:
            assert (await client.lookup(model, "a")).json()["prediction"] == 1
            await asyncio.to_thread(first.close)
            response = await client.lookup(model, "a")
            assert (response.status_code, response.json()["title"]) == (503, "Store unavailable")
            not_ready = await client.until("/readyz", 503)
            assert not_ready.json()["detail"] == "No connection to Bigtable is ready."
            assert (await client.get("/v1/models")).status_code == 200
            await asyncio.to_thread(second.enter_context, bigtable_server(int(address.rpartition(":")[2])))
            store = await asyncio.to_thread(Store, address)
            assert await asyncio.to_thread(store.model) == model
            version = await asyncio.to_thread(store.refresh, model, {"a": b"2"})
            store.close()
            await client.until("/readyz", 200)
            await client.until_metric("foreserve_active_version", version)
            assert (await client.lookup(model, "a")).json()["prediction"] == 2
