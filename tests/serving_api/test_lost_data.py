"""A Bigtable that has lost tables: errors, no predictions, and never those of another version."""

import asyncio

import pytest

from prediction_store.layout import REGISTRY_TABLE
from prediction_store.tables import Tables
from tests.servers import INSTANCE, bigtable_server
from tests.store import Store
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


@pytest.fixture
def lossy(monkeypatch):
    """A store in a Bigtable of its own, and a function that deletes one of its tables."""
    with bigtable_server() as address:
        store = Store(address)
        monkeypatch.setenv("BIGTABLE_EMULATOR_HOST", address)
        tables = Tables(INSTANCE)
        yield store, lambda table: tables._client.delete_table(name=INSTANCE.table(table))
        store.close()


async def test_a_table_that_is_gone_is_an_error_and_an_empty_one_has_no_predictions(lossy, serve):
    store, delete = lossy
    model = store.model("customer")
    store.refresh(model, {"a": b"1", "b": b"1"})
    lost = store.refresh(model, {"a": b"2"})
    async with serve(store.address) as client:
        assert (await client.lookup(model, "a")).json()["prediction"] == 2
        delete("customer")
        gone = [await client.lookup(model, "a"), await client.batch(model, ["a", "b"])]
        assert [(answer.status_code, answer.json()["title"]) for answer in gone] == [(503, "Store unavailable")] * 2
        store.model("customer", name=model)
        empty = [await client.lookup(model, "a"), await client.batch(model, ["a", "b"])]
        assert [answer.status_code for answer in empty] == [404, 200]
        assert (empty[1].json()["version"], set(empty[1].json()["predictions"].values())) == (lost, {None})
        await asyncio.to_thread(store.refresh, model, {"a": b"3", "b": b"3"})

        async def is_right():
            return (await client.batch(model, ["a", "b"])).json()["predictions"] == {"a": 3, "b": 3}

        await eventually(is_right)


async def test_a_registry_that_is_gone_leaves_readers_where_they_are_and_an_empty_one_does_not(lossy, serve):
    store, delete = lossy
    model = store.model("customer")
    version = store.refresh(model, {"a": b"1"})
    async with serve(store.address) as client:
        assert (await client.lookup(model, "a")).json()["version"] == version
        delete(REGISTRY_TABLE)
        assert (await client.lookup(model, "a")).json()["version"] == version
        await asyncio.to_thread(store._tables.ensure_registry)
        answer = await client.until(f"/v1/models/{model}/predictions/a", 404)
        assert answer.json()["title"] == "Unknown model"
    async with serve(store.address) as client:
        assert (await client.lookup(model, "a")).status_code == 404
