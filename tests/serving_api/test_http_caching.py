"""Conditional requests, and deadlines of clients."""

import asyncio

import pytest

from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def test_a_client_that_has_the_answer_gets_304_without_a_read(store, serve):
    model = store.model("cached")
    store.refresh(model, {"a": b"1", "b": b"1"})
    async with serve(store.address, cache_control="private, max-age=5") as client:
        for path in (f"/v1/models/{model}/predictions/a", "/v1/entities/cached/a/predictions"):
            first = await client.get(path)
            tag = first.headers["etag"]
            assert first.headers["cache-control"] == "private, max-age=5"
            reads = await client.metric("foreserve_read_keys_count")
            for theirs in (tag, f'"other", {tag}', f"W/{tag}"):
                again = await client.get(path, headers={"If-None-Match": theirs})
                assert (again.status_code, again.content) == (304, b"")
                assert again.headers["etag"] == tag
                assert again.headers["cache-control"] == "private, max-age=5"
            assert await client.metric("foreserve_read_keys_count") == reads
            assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


async def test_tags_differ_by_entity_and_by_version(store, serve):
    model = store.model()
    first = store.refresh(model, {"a": b"1", "b": b"1"})
    async with serve(store.address) as client:
        tags = [(await client.lookup(model, entity_id)).headers["etag"] for entity_id in ("a", "b")]
        second = store.refresh(model, {"a": b"1"})

        async def switched():
            return await client.metric("foreserve_active_version", model=model) == second

        await eventually(switched)
        tags.append((await client.lookup(model, "a")).headers["etag"])
        assert len(set(tags)) == 3
        old = await client.get(
            f"/v1/models/{model}/predictions/a", params={"version": first}, headers={"If-None-Match": tags[0]}
        )
        assert old.status_code == 304


async def test_a_client_may_shorten_the_deadline_but_not_extend_it(wire, serve):
    wire.hold(b"slow")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", deadline_seconds=0.5) as client:
        patient = asyncio.create_task(client.get("/v1/models/m/predictions/slow", headers={"X-Deadline-Ms": "60000"}))
        hasty = await client.get("/v1/models/m/predictions/slow", headers={"X-Deadline-Ms": "20"})
        assert (hasty.status_code, hasty.json()["title"]) == (504, "Deadline exceeded")
        assert not patient.done()
        assert (await patient).status_code == 504
        batch = await client.post(
            "/v1/models/m/predictions:batchGet", json={"entity_ids": ["slow"]}, headers={"X-Deadline-Ms": "20"}
        )
        assert batch.status_code == 504


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1.5", ""])
async def test_an_invalid_deadline_is_named(wire, serve, value):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        answer = await client.get("/v1/models/m/predictions/a", headers={"X-Deadline-Ms": value})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "X-Deadline-Ms", "message": f"must be a whole number of milliseconds above 0, not {value!r}"}
        ]
