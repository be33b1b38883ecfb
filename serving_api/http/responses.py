"""The answers: JSON that is put together around stored predictions, which are JSON already and are never parsed."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from pydantic import BaseModel, Field

from serving_api.store.catalog import ModelVersion


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
    return b'{"model":"%b","entity_id":%b,%b,"prediction":%b}' % (
        version.model.encode(),
        _string(entity_id),
        version.json_members,
        payload,
    )


def predictions(version: ModelVersion, payloads: Iterable[tuple[str, bytes | None]]) -> bytes:
    """The JSON of `Predictions`, from entity ids and their predictions."""
    members = b",".join([b"%b:%b" % (_string(entity_id), payload or b"null") for entity_id, payload in payloads])
    return b'{"model":"%b",%b,"predictions":{%b}}' % (version.model.encode(), version.json_members, members)


def entity_predictions(entity_type: str, entity_id: str, payloads: Mapping[ModelVersion, bytes]) -> bytes:
    """The JSON of `EntityPredictions`."""
    members = b",".join(
        [
            b'"%b":{%b,"prediction":%b}' % (version.model.encode(), version.json_members, payload)
            for version, payload in payloads.items()
        ]
    )
    return b'{"entity_type":"%b","entity_id":%b,"predictions":{%b}}' % (
        entity_type.encode(),
        _string(entity_id),
        members,
    )


def bigtable_timing(started: float) -> dict[str, str]:
    """The header that says how long Bigtable took, which has just answered (Server Timing, W3C).

    Args:
        started: when it was asked, by `time.perf_counter`.
    """
    return {"Server-Timing": f"bigtable;dur={(time.perf_counter() - started) * 1e3:.2f}"}


def _string(value: str) -> bytes:
    return encode_basestring_ascii(value).encode()
