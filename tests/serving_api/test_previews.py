"""Previews: lookups of versions that are not active. What is read then is never taken for the final answer."""

import pytest

from prediction_store.lifecycle import now_ms
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio


async def until_known(client, model, version, **fields):
    """Wait until the service knows a version with certain fields."""

    async def known():
        versions = (await client.get(f"/v1/models/{model}")).json()["versions"]
        return any(each["version"] == version and fields.items() <= each.items() for each in versions)

    await eventually(known)


@pytest.mark.parametrize("cache_bytes", [0, 100_000])
async def test_a_version_that_is_being_exported_cannot_be_read(store, serve, cache_bytes):
    model = store.model()
    store.refresh(model, {"a": b"1", "b": b"1"})
    async with serve(store.address, cache_bytes=cache_bytes) as client:
        version = store.begin_export(model)
        await until_known(client, model, version, status="exporting")
        early = await client.lookup(model, "a", version=version)
        assert (early.status_code, early.json()["title"]) == (404, "Unknown version")
        assert "cannot be read before its export is complete" in early.json()["detail"]
        assert "etag" not in early.headers
        assert (await client.batch(model, ["a"], version=version)).status_code == 404
        store.write(model, version, {"a": b"2", "b": b"2"})
        store.complete_export(model, version, {"a": b"2", "b": b"2"})
        await until_known(client, model, version, receipt={"predictions": 2, "tombstones": 0})
        assert (await client.lookup(model, "a", version=version)).json()["prediction"] == 2


async def test_a_preview_is_neither_cached_nor_tagged(store, serve):
    model = store.model()
    store.refresh(model, {"a": b"1"})
    async with serve(store.address, cache_bytes=100_000, cache_control="max-age=60") as client:
        version = store.export(model, {"a": b"2"})
        await until_known(client, model, version, status="exporting", receipt={"predictions": 1, "tombstones": 0})
        preview = await client.lookup(model, "a", version=version)
        assert preview.json()["prediction"] == 2
        assert preview.headers["cache-control"] == "no-store"
        assert "etag" not in preview.headers
        batch = await client.batch(model, ["a"], version=version)
        assert batch.headers["cache-control"] == "no-store"
        # As if a cluster that replication had not reached yet had answered.
        store.write(model, version, {"a": b"3"})
        assert (await client.lookup(model, "a", version=version)).json()["prediction"] == 3
        store.promote(model, version, {"a": b"2"})
        await client.until_metric("foreserve_active_version", version, model=model)
        final = await client.lookup(model, "a")
        assert final.json()["prediction"] == 3
        assert final.headers["cache-control"] == "max-age=60"
        tag = final.headers["etag"]
        unread = store.export(model, {"a": b"4"})
        await until_known(client, model, unread, receipt={"predictions": 1, "tombstones": 0})
        guessed = tag.replace(str(version), str(unread))
        answer = await client.get(
            f"/v1/models/{model}/predictions/a", params={"version": unread}, headers={"If-None-Match": guessed}
        )
        assert answer.status_code == 200


async def test_a_version_above_the_active_one_cannot_be_read_once_a_purge_may_have_begun(store, serve):
    model = store.model()
    first = store.refresh(model, {"a": b"1"})
    second = store.refresh(model, {"a": b"2"})
    async with serve(store.address, cache_bytes=100_000) as client:
        assert (await client.lookup(model, "a", version=second)).headers["etag"]
        store.registry.update(model, lambda s: s.roll_back(first, reason="harmful", now=now_ms()))
        await client.until_metric("foreserve_active_version", first, model=model)
        rolled_back = await client.lookup(model, "a", version=second)
        assert (rolled_back.json()["prediction"], rolled_back.headers["cache-control"]) == (2, "no-store")
        third = store.registry.update(model, lambda s: s.open(now_ms())).latest
        await until_known(client, model, third)
        purging = await client.lookup(model, "a", version=second)
        assert (purging.status_code, purging.json()["title"]) == (404, "Unknown version")
        assert (await client.lookup(model, "a", version=third)).status_code == 404


async def test_an_aborted_export_cannot_be_read(store, serve):
    model = store.model()
    first = store.refresh(model, {"a": b"1"})
    async with serve(store.address) as client:
        version = store.begin_export(model)
        store.registry.update(model, lambda s: s.abort(version, first, reason="failed", now=now_ms()))
        await until_known(client, model, version, status="aborted")
        answer = await client.lookup(model, "a", version=version)
        assert (answer.status_code, answer.json()["title"]) == (404, "Unknown version")
