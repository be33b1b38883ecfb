"""The answers: JSON that is put together around stored predictions, which are JSON already and are never parsed."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from serving_api.catalog import ModelVersion


class Prediction(BaseModel):
    """A prediction of one model for one entity."""

    model: str
    entity_id: str
    version: int = Field(description="milliseconds since the epoch")
    created_at: datetime = Field(description="the time of the version")
    prediction: Any = Field(description="what the model's prediction query selects")


class Predictions(BaseModel):
    """The predictions of one version of one model for many entities."""

    model: str
    version: int
    created_at: datetime
    predictions: dict[str, Any] = Field(description="by entity, in the order asked for; null: no prediction")


class EntityPrediction(BaseModel):
    """A prediction of one of the models of an entity."""

    version: int
    created_at: datetime
    prediction: Any


class EntityPredictions(BaseModel):
    """The predictions of all models for one entity."""

    entity_type: str
    entity_id: str
    predictions: dict[str, EntityPrediction] = Field(description="by model")


def prediction(version: ModelVersion, entity_id: str, payload: bytes) -> bytes:
    """The JSON of a `Prediction`."""
    head = (
        f'{{"model":"{version.model}","entity_id":{json.dumps(entity_id)},"version":{version.version},'
        f'"created_at":"{version.created_at}","prediction":'
    )
    return b"%b%b}" % (head.encode(), payload)


def predictions(version: ModelVersion, payloads: Iterable[tuple[str, bytes | None]]) -> bytes:
    """The JSON of `Predictions`, from entity ids and their predictions."""
    head = (
        f'{{"model":"{version.model}","version":{version.version},"created_at":"{version.created_at}","predictions":{{'
    )
    members = (b"%b:%b" % (json.dumps(entity_id).encode(), payload or b"null") for entity_id, payload in payloads)
    return b"%b%b}}" % (head.encode(), b",".join(members))


def entity_predictions(entity_type: str, entity_id: str, payloads: Mapping[ModelVersion, bytes]) -> bytes:
    """The JSON of `EntityPredictions`."""
    head = f'{{"entity_type":"{entity_type}","entity_id":{json.dumps(entity_id)},"predictions":{{'
    members = (
        b'"%b":{"version":%d,"created_at":"%b","prediction":%b}'
        % (version.model.encode(), version.version, version.created_at.encode(), payload)
        for version, payload in payloads.items()
    )
    return b"%b%b}}" % (head.encode(), b",".join(members))
