"""Both clients of Bigtable keep the same protocol."""

import asyncio

import grpc
import pytest

from prediction_store.layout import REGISTRY_DOCUMENT, REGISTRY_FAMILY, REGISTRY_REVISION
from prediction_store.messages import ReadRowsRequest, RowFilter, prediction_filter, read_request
from serving_api.bigtable import CallError
from serving_api.service import open_client
from serving_api.settings import Settings
from serving_api.telemetry.metrics import Metrics
from tests.servers import INSTANCE
from tests.serving_api.conftest import VERSION, payload_of
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

TABLE = INSTANCE.table("things")
REGISTRY = INSTANCE.table("prediction_versions")


class Rows:
    """Receives the rows of a read. The result of `all` is all of them, by key."""

    def __init__(self):
        self.found = {}
        self.all = asyncio.get_running_loop().create_future()

    def received(self, _read, rows):
        self.found |= rows

    def ended(self, _read, error):
        if error:
            self.all.set_exception(error)
        else:
            self.all.set_result(self.found)


@pytest.fixture(params=["http2", "official"])
def open_to(request, monkeypatch):
    """Opens a client of the Bigtable at an address: `async with open_to(address) as client`."""

    def opened(address):
        monkeypatch.setenv("BIGTABLE_EMULATOR_HOST", address)
        settings = Settings(project=INSTANCE.project, instance=INSTANCE.instance, bigtable_client=request.param)
        return open_client(settings, Metrics())

    return opened


def read(client, *keys, seconds=5.0, model="m", **options):
    """Start to read rows; returns the read and what receives them."""
    request = read_request(TABLE, "", keys, prediction_filter({model: VERSION})).SerializeToString()
    rows = Rows()
    return client.read_rows(TABLE, request, seconds, rows, **options), rows


def registry_request(*columns, names=()):
    filters = [
        RowFilter(family_name_regex_filter=REGISTRY_FAMILY),
        RowFilter(column_qualifier_regex_filter=b"|".join(columns)),
        RowFilter(cells_per_column_limit_filter=1),
    ]
    request = ReadRowsRequest(table_name=REGISTRY, filter=RowFilter(chain=RowFilter.Chain(filters=filters)))
    request.rows.row_keys.extend(names)
    return request.SerializeToString()


async def test_rows_that_exist_are_received(wire, open_to):
    async with wire.listening() as port, open_to(f"127.0.0.1:{port}") as client:
        _, rows = read(client, b"a", b"absent", b"b")
        assert not rows.found
        assert await rows.all == {b"a": {"m": payload_of(b"a")}, b"b": {"m": payload_of(b"b")}}
        _, rows = read(client, b"absent")
        assert await rows.all == {}
        assert client.is_connected


async def test_the_cells_of_a_row_have_their_columns(wire, open_to):
    wire.documents["n"] = b"{}"
    async with wire.listening() as port, open_to(f"127.0.0.1:{port}") as client:
        found = await client.read_cells(REGISTRY, registry_request(REGISTRY_DOCUMENT, REGISTRY_REVISION), 5.0)
        assert found == [
            (name, [(REGISTRY_FAMILY, b"document", 0, document, ()), (REGISTRY_FAMILY, b"revision", 0, b"1", ())])
            for name, document in ((b"m", wire.documents["m"]), (b"n", b"{}"))
        ]
        some = await client.read_cells(REGISTRY, registry_request(REGISTRY_REVISION, names=[b"n"]), 5.0)
        assert [(key, [cell[3] for cell in cells]) for key, cells in some] == [(b"n", [b"1"])]


async def test_the_store_answers_both_by_version(store, open_to):
    model = store.model("of_both")
    first = store.refresh(model, {"a": b"1", "b": b"1"})
    store.refresh(model, {"a": b"2"})
    other = store.model("of_both")
    second = store.refresh(other, {"a": b"3"})
    table = INSTANCE.table("of_both")
    request = read_request(table, "", [b"a", b"b"], prediction_filter({model: first, other: second}))
    async with open_to(store.address) as client:
        rows = Rows()
        client.read_rows(table, request.SerializeToString(), 5.0, rows)
        assert await rows.all == {b"a": {model: b"1", other: b"3"}, b"b": {model: b"1"}}


@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED", "NOT_FOUND", "RESOURCE_EXHAUSTED", "INTERNAL"])
async def test_a_read_ends_with_the_status_of_bigtable(wire, open_to, code):
    wire.failing[b"b"] = grpc.StatusCode[code]
    wire.registry_failure = grpc.StatusCode[code]
    async with wire.listening() as port, open_to(f"127.0.0.1:{port}") as client:
        _, rows = read(client, b"a", b"b")
        with pytest.raises(CallError, match=code) as failed:
            await rows.all
        assert (failed.value.code, failed.value.is_transient) == (code, code == "UNAVAILABLE")
        # The caller decides about another attempt.
        assert len(wire.reads) == 1
        with pytest.raises(CallError, match=code):
            await client.read_cells(REGISTRY, registry_request(REGISTRY_DOCUMENT), 5.0)


async def test_a_read_that_takes_too_long_ends(wire, open_to):
    wire.hold(b"slow")
    async with wire.listening() as port, open_to(f"127.0.0.1:{port}") as client:
        _, rows = read(client, b"slow", seconds=0.1)
        with pytest.raises(CallError) as failed:
            await rows.all
        assert failed.value.code in {"DEADLINE_EXCEEDED", "CANCELLED"}
        wire.release(b"slow")


async def test_a_cancelled_read_calls_nobody(wire, open_to):
    wire.hold(b"slow")
    async with wire.listening() as port, open_to(f"127.0.0.1:{port}") as client:
        started, rows = read(client, b"a", b"slow")
        await eventually(lambda: rows.found)
        started.cancel()
        started.cancel()
        wire.release(b"slow")
        _, after = read(client, b"b")
        await after.all
        assert not rows.all.done()
        assert list(rows.found) == [b"a"]


async def test_a_client_connects_again_when_bigtable_is_back(wire, open_to):
    async with wire.listening() as port:
        pass
    async with open_to(f"127.0.0.1:{port}") as client:
        with pytest.raises(CallError, match="UNAVAILABLE"):
            await client.read_cells(REGISTRY, registry_request(REGISTRY_REVISION), 1.0)
        assert not client.is_connected
        async with wire.listening(port):

            async def answered():
                try:
                    return await client.read_cells(REGISTRY, registry_request(REGISTRY_REVISION), 1.0)
                except CallError:
                    return None

            assert await eventually(answered)
            assert client.is_connected
