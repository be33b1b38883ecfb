"""The routes that look predictions up."""

import time
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from prediction_store.layout import row_key
from serving_api.access.callers import Caller
from serving_api.http import responses
from serving_api.http.deadlines import deadline
from serving_api.http.etags import holds, joint_tag
from serving_api.http.middleware.authentication import admitted
from serving_api.http.openapi import (
    BATCH_EXTRA,
    BODY_PROBLEMS,
    LOOKUP_EXTRA,
    LOOKUP_PROBLEMS,
    UNKNOWN_ENTITY_TYPE,
    UNKNOWN_MODEL,
    UNKNOWN_VERSION,
    answers,
)
from serving_api.http.parameters import (
    ENTITY_ID_LENGTH,
    VERSION,
    EntityId,
    ModelName,
    entity_row_key,
    known_models,
    named_model,
    readable_version,
)
from serving_api.http.problems import ProblemError, invalid
from serving_api.service import running
from serving_api.store.catalog import Snapshot

router = APIRouter(prefix="/v1", tags=["predictions"])

_JSON = "application/json"

_VERSION = {"version": 1795462342077, "created_at": "2026-11-23T19:32:22.077Z"}
_PREDICTION = {"probability": 0.48, "buys_again": False, "purchases": 6}


class BatchGet(BaseModel):
    """Which predictions to get."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"entity_ids": ["00003", "99999"]}]})

    entity_ids: list[Annotated[str, Field(json_schema_extra=ENTITY_ID_LENGTH)]] = Field(
        min_length=1, description="ids that are repeated are answered once"
    )
    version: int | None = Field(None, description=VERSION)


@router.get(
    "/models/{model}/predictions/{entity_id:entity_id}",
    response_class=Response,
    responses=answers(
        responses.Prediction,
        {"model": "repeat_purchase", "entity_id": "00003", **_VERSION, "prediction": _PREDICTION},
        *(*LOOKUP_PROBLEMS, UNKNOWN_MODEL, UNKNOWN_VERSION),
        cached=True,
    ),
    openapi_extra=LOOKUP_EXTRA,
)
async def get_prediction(
    model: ModelName,  # noqa: ARG001  for OpenAPI
    entity_id: EntityId,  # noqa: ARG001  for OpenAPI
    version: Annotated[int | SkipJsonSchema[None], Query(description=VERSION)] = None,  # noqa: ARG001  for OpenAPI
) -> Response:
    """Get the prediction of a model for an entity."""
    raise AssertionError(
        "requests for this route go to PredictionEndpoint; it stands here to be in the OpenAPI document"
    )


@router.post(
    "/models/{model}/predictions:batchGet",
    response_class=Response,
    responses=answers(
        responses.Predictions,
        {"model": "repeat_purchase", **_VERSION, "predictions": {"00003": _PREDICTION, "99999": None}},
        *(*LOOKUP_PROBLEMS, *BODY_PROBLEMS, UNKNOWN_MODEL, UNKNOWN_VERSION),
    ),
    openapi_extra=BATCH_EXTRA,
)
async def batch_get_predictions(request: Request, model: ModelName, body: BatchGet) -> Response:
    """Get the predictions of one version of a model for many entities."""
    service = running(request)
    caller = admitted(request)
    caller.require_model(model)
    if len(body.entity_ids) > service.settings.max_batch:
        raise invalid(
            "entity_ids", f"{len(body.entity_ids)} ids; send at most {service.settings.max_batch} in one request"
        )
    read = readable_version(named_model(known_models(service.catalog), model, caller), body.version, caller)
    keys: dict[str, bytes] = {}
    for position, entity_id in enumerate(body.entity_ids):
        try:
            keys[entity_id] = row_key(entity_id, read.row_keys)
        except ValueError as error:
            raise invalid(f"entity_ids[{position}]", str(error)) from None
    until = deadline(dict(request.scope["headers"]), service.settings.deadline_seconds)
    waiting = time.perf_counter()
    found = await read.source.predictions(keys.values(), until)
    timing = responses.bigtable_timing(waiting)
    payloads = ((entity_id, found[key]) for entity_id, key in keys.items())
    return Response(responses.predictions(read, payloads), headers=timing, media_type=_JSON)


@router.get(
    "/entities/{entity_type}/{entity_id:entity_id}/predictions",
    response_class=Response,
    responses=answers(
        responses.EntityPredictions,
        {
            "entity_type": "customer",
            "entity_id": "00003",
            "predictions": {"repeat_purchase": {**_VERSION, "prediction": _PREDICTION}},
        },
        *(*LOOKUP_PROBLEMS, UNKNOWN_ENTITY_TYPE),
        cached=True,
    ),
    openapi_extra=LOOKUP_EXTRA,
)
async def get_entity_predictions(
    request: Request, entity_type: Annotated[str, Path(description="the type of the entity")], entity_id: EntityId
) -> Response:
    """Get the predictions of all models for an entity."""
    service = running(request)
    caller = admitted(request)
    snapshot = known_models(service.catalog)
    entity = snapshot.entity_types.get(entity_type)
    active = [version for version in entity.active if caller.may_read(version.model)] if entity else []
    if not entity or not active:
        known = ", ".join(sorted(_readable_entity_types(snapshot, caller))) or "none"
        raise ProblemError(
            404, "Unknown entity type", f"No model serves {entity_type!r}; entity types with models: {known}."
        )
    keys = {version.name: entity_row_key(request.scope, entity_id, version.row_keys) for version in entity.active}
    headers = dict(request.scope["headers"])
    etag = joint_tag((version.version for version in active), entity_id.encode())
    caching = {"ETag": etag.decode(), "Cache-Control": service.settings.cache_control}
    if holds(headers, etag):
        return Response(status_code=304, headers=caching)
    until = deadline(headers, service.settings.deadline_seconds)
    waiting = time.perf_counter()
    found = await entity.source.predictions(keys, until)
    timing = responses.bigtable_timing(waiting)
    payloads = {version: payload for version in active if (payload := found[version.name])}
    if not payloads:
        raise ProblemError(
            404,
            "No prediction",
            f"No model of {entity_type} has a prediction for this entity.",
            entity_type=entity_type,
            entity_id=entity_id,
        )
    return Response(responses.entity_predictions(entity_type, entity_id, payloads), 200, caching | timing, _JSON)


def _readable_entity_types(snapshot: Snapshot, caller: Caller) -> Iterator[str]:
    """The entity types of which the caller may read a model."""
    for name, entity in snapshot.entity_types.items():
        if any(caller.may_read(version.model) for version in entity.active):
            yield name
