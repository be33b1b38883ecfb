"""Routes that look up the predictions of many entities, or of all models of an entity."""

import time
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from prediction_store.layout import row_key
from serving_api.access.callers import Caller
from serving_api.http import openapi, problems, responses
from serving_api.http.etags import matches, matches_any, tag
from serving_api.http.middleware.authentication import caller_of
from serving_api.http.parameters import (
    ENTITY_ID_LENGTH,
    MAX_MILLISECONDS,
    VERSION,
    EntityId,
    ModelName,
    current_snapshot,
    deadline,
    entity_row_key,
    find_model,
    find_version,
    no_parameters,
)
from serving_api.service import running
from serving_api.store.catalog import Snapshot

router = APIRouter(prefix="/v1", tags=["predictions"], dependencies=[Depends(no_parameters)])

_JSON = "application/json"


class BatchGet(BaseModel):
    """A request for the predictions of many entities."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"entity_ids": [openapi.ENTITY_ID, "99999"]}]}
    )

    entity_ids: list[Annotated[str, Field(json_schema_extra=ENTITY_ID_LENGTH)]] = Field(
        min_length=1, description="an id that is repeated is answered once"
    )
    version: int | None = Field(None, ge=0, le=MAX_MILLISECONDS, description=VERSION)


@router.post(
    "/models/{model}/predictions:batchGet",
    response_class=Response,
    responses=openapi.answers(
        responses.Predictions,
        {
            "model": openapi.MODEL,
            **openapi.VERSION_MEMBERS,
            "predictions": {openapi.ENTITY_ID: openapi.PREDICTION, "99999": None},
        },
        *openapi.LOOKUP_PROBLEMS,
        *openapi.BODY_PROBLEMS,
        openapi.UNKNOWN_MODEL,
        openapi.UNKNOWN_VERSION,
    ),
    openapi_extra={"parameters": [openapi.DEADLINE]},
)
async def batch_get_predictions(request: Request, model: ModelName, body: BatchGet) -> Response:
    """Get the predictions of one version of a model for many entities."""
    service = running(request)
    caller = caller_of(request)
    caller.require_model(model)
    max_batch = service.settings.max_batch
    if len(body.entity_ids) > max_batch:
        message = f"{len(body.entity_ids)} ids; send at most {max_batch} in one request"
        raise problems.invalid_field("entity_ids", message)
    version = find_version(find_model(current_snapshot(service.catalog), model, caller), body.version, caller)
    keys: dict[str, bytes] = {}
    for position, entity_id in enumerate(body.entity_ids):
        try:
            keys[entity_id] = row_key(entity_id, version.row_keys)
        except ValueError as error:
            raise problems.invalid_field(f"entity_ids[{position}]", str(error)) from None
    until = deadline(dict(request.scope["headers"]), service.settings.deadline_seconds)
    waiting = time.perf_counter()
    found = await version.source.predictions(keys.values(), until)
    headers = responses.bigtable_timing(waiting) | ({} if version.is_final else {"Cache-Control": "no-store"})
    payloads = ((entity_id, found[key]) for entity_id, key in keys.items())
    return Response(responses.predictions(version, payloads), headers=headers, media_type=_JSON)


@router.get(
    "/entities/{entity_type}/{entity_id:entity_id}/predictions",
    response_class=Response,
    responses=openapi.answers(
        responses.EntityPredictions,
        {
            "entity_type": openapi.ENTITY_TYPE,
            "entity_id": openapi.ENTITY_ID,
            "predictions": {openapi.MODEL: {**openapi.VERSION_MEMBERS, "prediction": openapi.PREDICTION}},
        },
        *openapi.LOOKUP_PROBLEMS,
        openapi.UNKNOWN_ENTITY_TYPE,
        cached=True,
    ),
    openapi_extra={"parameters": [openapi.DEADLINE, openapi.IF_NONE_MATCH]},
)
async def get_entity_predictions(
    request: Request, entity_type: Annotated[str, Path(description="type of the entity")], entity_id: EntityId
) -> Response:
    """Get the predictions of all models for an entity."""
    service = running(request)
    caller = caller_of(request)
    snapshot = current_snapshot(service.catalog)
    entity = snapshot.entity_types.get(entity_type)
    active = [version for version in entity.active if caller.may_read(version.model)] if entity else []
    if not entity or not active:
        raise problems.unknown_entity_type(entity_type, _readable_entity_types(snapshot, caller))
    keys = {version.name: entity_row_key(request.scope, entity_id, version.row_keys) for version in entity.active}
    headers = dict(request.scope["headers"])
    etag = tag(entity_id.encode(), *(version.version for version in active))
    caching = {"ETag": etag.decode(), "Cache-Control": service.settings.cache_control}
    if matches(headers, etag):
        return Response(status_code=304, headers=caching)
    until = deadline(headers, service.settings.deadline_seconds)
    waiting = time.perf_counter()
    found = await entity.source.predictions(keys, until)
    timing = responses.bigtable_timing(waiting)
    payloads = {version: payload for version in active if (payload := found[version.name])}
    if not payloads:
        raise problems.no_prediction_of_entity(entity_type, entity_id)
    if matches_any(headers):
        return Response(status_code=304, headers=caching)
    return Response(responses.entity_predictions(entity_type, entity_id, payloads), 200, caching | timing, _JSON)


def _readable_entity_types(snapshot: Snapshot, caller: Caller) -> Iterator[str]:
    """The entity types with a model that the caller may read."""
    for name, entity in snapshot.entity_types.items():
        if any(caller.may_read(version.model) for version in entity.active):
            yield name
