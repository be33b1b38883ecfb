"""FastAPI with Bigtable's official clients: one read per request, as their documentation shows."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from fastapi import FastAPI, HTTPException, Request, Response
from google.cloud.bigtable.data import BigtableDataClient, BigtableDataClientAsync, ReadRowsQuery, Row
from google.cloud.bigtable.data.row_filters import (
    CellsColumnLimitFilter,
    ColumnQualifierRegexFilter,
    FamilyNameRegexFilter,
    RowFilterChain,
    TimestampRangeFilter,
)

from benchmarks.serving.predictions import ENTITY_TYPE, INSTANCE, MODEL, VERSION, answer, batch_answer_of
from prediction_store.layout import COLUMN

_PATH = f"/v1/models/{MODEL}/predictions/{{entity_id}}"

_READ_RULE = RowFilterChain(
    [
        FamilyNameRegexFilter(MODEL),
        ColumnQualifierRegexFilter(COLUMN),
        TimestampRangeFilter(end=datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=VERSION + 1)),
        CellsColumnLimitFilter(1),
    ]
)
"""The read rule as the official clients write it, so that all servers read the same."""


@asynccontextmanager
async def _async_table(app: FastAPI) -> AsyncIterator[None]:
    async with (
        BigtableDataClientAsync(project=INSTANCE.project) as client,
        client.get_table(INSTANCE.instance, ENTITY_TYPE) as table,
    ):
        app.state.table = table
        yield


@asynccontextmanager
async def _sync_table(app: FastAPI) -> AsyncIterator[None]:
    with (
        BigtableDataClient(project=INSTANCE.project) as client,
        client.get_table(INSTANCE.instance, ENTITY_TYPE) as table,
    ):
        app.state.table = table
        yield


official_async = FastAPI(lifespan=_async_table)
official_sync = FastAPI(lifespan=_sync_table)


@official_async.get(_PATH)
async def look_up(request: Request, entity_id: str) -> Response:
    """Look up an entity with the asyncio client."""
    return _response(entity_id, await request.app.state.table.read_row(entity_id, row_filter=_READ_RULE))


@official_async.post(f"/v1/models/{MODEL}/predictions:batchGet")
async def look_many_up(request: Request) -> Response:
    """Look many entities up with the asyncio client, in one read."""
    ids = json.loads(await request.body())["entity_ids"]
    query = ReadRowsQuery(row_keys=list(ids), row_filter=_READ_RULE)
    rows = {row.row_key.decode(): row for row in await request.app.state.table.read_rows(query)}
    found = [(entity_id, rows[entity_id].get_cells(MODEL, COLUMN)[0].value) for entity_id in ids]
    return Response(batch_answer_of(found), media_type="application/json")


@official_sync.get(_PATH)
def look_up_in_thread(request: Request, entity_id: str) -> Response:
    """Look up an entity with the blocking client, in a thread of FastAPI's pool."""
    return _response(entity_id, request.app.state.table.read_row(entity_id, row_filter=_READ_RULE))


def _response(entity_id: str, row: Row | None) -> Response:
    if row is None:
        raise HTTPException(404)
    return Response(answer(entity_id, row.get_cells(MODEL, COLUMN)[0].value), media_type="application/json")
