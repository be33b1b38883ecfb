"""The registry as the service sees it: changed, behind, unavailable."""

import grpc
import pytest

from prediction_store.lifecycle import ModelState, Receipt, Status, VersionRecord
from tests.serving_api.conftest import VERSION
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

PROMOTED = VersionRecord(Status.PROMOTED, has_cells=True, receipt=Receipt(1, 0))


def document(active):
    """The document of `m` with this active version, after which nothing was opened."""
    versions = dict.fromkeys(range(VERSION, active + 1), PROMOTED)
    return ModelState("m", "things", active=active, latest=active, versions=versions).to_json()


async def polls(wire, number):
    """Wait for a number of further reads of the registry."""
    seen = len(wire.registry_reads)
    await eventually(lambda: len(wire.registry_reads) >= seen + number)


async def test_a_replica_that_is_behind_does_not_undo_a_promotion(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        wire.documents, wire.revisions = {"m": document(VERSION + 1)}, {"m": 12}
        await client.until_metric("foreserve_active_version", VERSION + 1)
        for failure in (None, grpc.StatusCode.UNAVAILABLE):
            wire.registry_failure = failure
            await polls(wire, 2)
            wire.documents, wire.revisions, wire.registry_failure = {"m": document(VERSION)}, {"m": 11}, None
            await polls(wire, 3)
            assert (await client.lookup("m", "a")).json()["version"] == VERSION + 1
        wire.documents, wire.revisions = {"m": document(VERSION)}, {"m": 13}
        await client.until_metric("foreserve_active_version", VERSION)


async def test_a_document_from_a_replica_that_is_behind_its_revision_is_read_again(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        wire.documents, wire.revisions = {"m": document(VERSION + 1)}, {"m": 12}
        await client.until_metric("foreserve_active_version", VERSION + 1)
        rows = wire._registry_rows

        def behind(request):
            wire.revisions = {"m": 11 if request.rows.row_keys else 13}
            return rows(request)

        wire._registry_rows = behind
        wire.documents = {"m": document(VERSION)}
        await polls(wire, 4)
        assert await client.metric("foreserve_active_version") == VERSION + 1
        wire._registry_rows, wire.revisions = rows, {"m": 13}
        await client.until_metric("foreserve_active_version", VERSION)


async def test_documents_are_read_only_when_their_revisions_change(wire, serve):
    wire.documents["n"] = ModelState("n", "things").to_json()
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        await polls(wire, 3)
        assert set(wire.registry_reads[2:]) == {b"revision"}
        wire.documents["m"] = document(VERSION + 1)
        await client.until_metric("foreserve_active_version", VERSION + 1)
        await polls(wire, 3)
        assert wire.registry_reads.count(b"document|revision") == 2


async def test_a_replica_stays_ready_while_only_the_registry_cannot_be_read(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", registry_poll_seconds=0.01) as client:
        wire.registry_failure = grpc.StatusCode.UNAVAILABLE

        async def is_old():
            return await client.metric("foreserve_registry_age_seconds") > 0.3

        await eventually(is_old)
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.lookup("m", "a")).status_code == 200


async def test_the_age_of_what_is_known_counts_the_time_of_a_slow_read(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", registry_poll_seconds=0.01) as client:
        wire.registry_seconds = 0.5
        await polls(wire, 2)
        assert await client.metric("foreserve_registry_age_seconds") >= 0.5


async def test_a_replica_that_has_not_read_the_registry_is_not_ready(wire, serve):
    wire.registry_failure = grpc.StatusCode.UNAVAILABLE
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.get("/readyz")).status_code == 503
        wire.registry_failure = None
        await client.until("/readyz", 200)


async def test_a_poll_that_fails_unexpectedly_is_made_again(wire, serve, monkeypatch):
    monkeypatch.setattr("serving_api.supervisor._PAUSE_SECONDS", (0.01, 0.02))
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        with monkeypatch.context() as patch:
            patch.setattr("serving_api.store.catalog.Catalog._is_newer", lambda *_: 1 / 0)

            async def is_counted():
                return await client.metric("foreserve_task_failures_total", task="registry") > 1

            await eventually(is_counted)
        wire.documents = {"m": document(VERSION + 1)}
        await client.until_metric("foreserve_active_version", VERSION + 1)
