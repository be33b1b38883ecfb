"""The service in this process or another one, on a Bigtable emulator or on a stand-in that can be made to fail."""

import asyncio
import os
import re
import socket
from collections import defaultdict
from contextlib import ExitStack, asynccontextmanager
from urllib.parse import quote

import grpc
import httpx
import pytest
from granian.constants import HTTPModes, Interfaces
from granian.server.embed import Server
from prometheus_client.parser import text_string_to_metric_families

from prediction_store import layout, messages
from prediction_store.layout import REGISTRY_DOCUMENT, REGISTRY_FAMILY, REGISTRY_REVISION
from prediction_store.lifecycle import ModelState, Receipt, Status, VersionRecord
from serving_api.app import create_app
from serving_api.server import LOGGING
from serving_api.settings import Settings
from tests.servers import INSTANCE, accepts, service_process
from tests.store import store
from tests.waiting import eventually

__all__ = ["store"]

VERSION = 1_750_000_000_123


def pytest_collection_modifyitems(items):
    """Skip tests of our client while the suite runs on Google's."""
    if os.environ.get("SERVING_BIGTABLE_CLIENT") == "official":
        for item in items:
            if item.get_closest_marker("http2_client"):
                item.add_marker(pytest.mark.skip(reason="about our client of Bigtable"))


class Wire:
    """A stand-in for Bigtable that answers ReadRows. It has one model, `m`, of the entity type `things`.

    Every row exists whose key does not start with `absent`. `hold` delays rows, `failing` has the error of rows that
    fail, and `reads` records the keys of all reads. `registry_failure` is the error of reads of the registry,
    `registry_seconds` their time, and `registry_reads` records their columns. Each change of `documents` is a new
    revision, unless `revisions` has one.
    """

    def __init__(self):
        self.documents = {
            "m": ModelState("m", "things", active=VERSION, latest=VERSION, versions=_promoted()).to_json()
        }
        self.revisions = {}
        self.registry_failure = None
        self.registry_seconds = 0.0
        self.registry_reads = []
        self._written = {}
        self.reads = []
        self.gates = defaultdict(_open_gate)
        self.failing = {}
        self._changed = asyncio.Condition()

    async def saw(self, reads):
        """Wait until a number of reads have arrived."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.reads) >= reads)

    async def read_rows(self, request, context):
        if request.table_name == INSTANCE.table("prediction_versions"):
            self.registry_reads.append(_columns(request))
            if self.registry_failure:
                await context.abort(self.registry_failure, "told to")
            rows = list(self._registry_rows(request))
            await asyncio.sleep(self.registry_seconds)
            for row in rows:
                yield row
            return
        keys = list(request.rows.row_keys)
        async with self._changed:
            self.reads.append(keys)
            self._changed.notify_all()
        for key in sorted(keys):
            await self.gates[key].wait()
            if key in self.failing:
                await context.abort(self.failing[key], "told to")
            if not key.startswith(b"absent"):
                yield _row(key, "m", {layout.COLUMN: payload_of(key)})

    def _registry_rows(self, request):
        """The wanted columns of the wanted rows of the registry."""
        for name, document in sorted(self.documents.items()):
            revision, last = self._written.get(name, (0, None))
            self._written[name] = (revision + (document != last), document)
            revision = self.revisions.get(name, self._written[name][0])
            cells = {REGISTRY_DOCUMENT: document, REGISTRY_REVISION: b"%d" % revision}
            wanted = {column: value for column, value in cells.items() if re.fullmatch(_columns(request), column)}
            if name.encode() in request.rows.row_keys or not request.rows.row_keys:
                yield _row(name.encode(), REGISTRY_FAMILY, wanted)

    @asynccontextmanager
    async def listening(self, port=0):
        """Run the server; yields its port."""
        method = grpc.unary_stream_rpc_method_handler(
            self.read_rows,
            messages.ReadRowsRequest.FromString,
            messages.ReadRowsResponse.SerializeToString,
        )
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service = grpc.method_handlers_generic_handler("google.bigtable.v2.Bigtable", {"ReadRows": method})
        server.add_generic_rpc_handlers((service,))
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        try:
            yield port
        finally:
            await server.stop(grace=None)

    def hold(self, *keys):
        for key in keys:
            self.gates[key].clear()

    def release(self, *keys):
        for key in keys:
            self.gates[key].set()


def _columns(request):
    """The columns of the registry that a request wants."""
    return request.filter.chain.filters[1].column_qualifier_regex_filter


def payload_of(key):
    return b'{"of":"%b"}' % key


def _open_gate():
    gate = asyncio.Event()
    gate.set()
    return gate


def _promoted():
    return {VERSION: VersionRecord(Status.PROMOTED, has_cells=True, receipt=Receipt(1, 0))}


def _row(key, family, cells):
    chunks = [
        messages.ReadRowsResponse.CellChunk(
            row_key=key, family_name={"value": family}, qualifier={"value": column}, value=value
        )
        for column, value in cells.items()
    ]
    chunks[-1].commit_row = True
    return messages.ReadRowsResponse(chunks=chunks)


@pytest.fixture
def wire():
    return Wire()


class Client(httpx.AsyncClient):
    """A client of one service."""

    async def metric(self, name, **labels):
        """The value of a metric, summed over the labels that are not given; 0 if it has no samples."""
        families = text_string_to_metric_families((await self.get("/metrics")).text)
        samples = [s for family in families for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    async def until(self, path, status):
        """Get a path again and again until the answer has a status; returns the answer."""

        async def answered():
            return (await self.get(path)).status_code == status

        await eventually(answered)
        return await self.get(path)

    async def until_metric(self, name, value, **labels):
        """Wait until a metric has a value."""

        async def reached():
            return await self.metric(name, **labels) == value

        await eventually(reached)

    async def lookup(self, model, entity_id, **params):
        return await self.get(f"/v1/models/{model}/predictions/{quote(entity_id, safe='')}", params=params or None)

    async def batch(self, model, entity_ids, **fields):
        return await self.post(f"/v1/models/{model}/predictions:batchGet", json={"entity_ids": entity_ids, **fields})


@pytest.fixture
def serve():
    """Runs the application in this process: `async with serve(bigtable_address, **settings) as client`."""

    @asynccontextmanager
    async def serving(address, **settings):
        values = {"project": INSTANCE.project, "instance": INSTANCE.instance, "registry_poll_seconds": 0.05, **settings}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BIGTABLE_EMULATOR_HOST", address)
            with socket.create_server(("127.0.0.1", 0)) as probe:
                port = probe.getsockname()[1]
            app = create_app(Settings(**values))
            server = Server(
                app, "127.0.0.1", port, interface=Interfaces.ASGI, http=HTTPModes.http1, log_dictconfig=LOGGING
            )
            running = asyncio.create_task(server.serve())

            async def started():
                assert not running.done(), "the service did not start"
                return accepts("127.0.0.1", port)

            await eventually(started)
        limits = httpx.Limits(max_connections=None)
        base_url = f"http://127.0.0.1:{port}"
        async with Client(base_url=base_url, timeout=10, limits=limits) as client:
            yield client
        server.stop()
        await running

    return serving


@pytest.fixture
def run_service():
    """Runs the command in another process: `async with run_service(log=..., **variables) as (process, client)`."""

    @asynccontextmanager
    async def running(*options, bigtable_port=1, **variables):
        variables = {"BIGTABLE_EMULATOR_HOST": f"127.0.0.1:{bigtable_port}", **variables}
        with ExitStack() as stack:
            process, url = await asyncio.to_thread(stack.enter_context, service_process(*options, **variables))
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                yield process, client
            await asyncio.to_thread(stack.close)

    return running
