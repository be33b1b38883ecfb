"""FastAPI and the official client for asyncio: a read for each lookup, as its documentation shows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request, Response
from google.cloud.bigtable.data import BigtableDataClientAsync

from benchmarks.serving.apps.read_rule import AT_VERSION
from benchmarks.serving.predictions import ENTITY_TYPE, INSTANCE, MODEL, answer
from prediction_store.layout import COLUMN


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with (
        BigtableDataClientAsync(project=INSTANCE.project) as client,
        client.get_table(INSTANCE.instance, ENTITY_TYPE) as table,
    ):
        app.state.table = table
        yield


app = FastAPI(lifespan=_lifespan)


@app.get(f"/v1/models/{MODEL}/predictions/{{entity_id}}")
async def get_prediction(request: Request, entity_id: str) -> Response:
    """Look an entity up."""
    row = await request.app.state.table.read_row(entity_id, row_filter=AT_VERSION)
    if row is None:
        raise HTTPException(404)
    return Response(answer(entity_id, row.get_cells(MODEL, COLUMN)[0].value), media_type="application/json")
