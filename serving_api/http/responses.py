"""Answers of lookups: JSON that is assembled around the stored predictions.

Each shape is given twice, as a class for the OpenAPI document and as a template for the answer. An answer made from
the class would have to parse the stored prediction, which takes longer than the rest of the lookup and can change it:
large numbers lose digits, repeated names disappear. The fuzz tests compare answers with the OpenAPI document.
"""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from pydantic import BaseModel, Field
from starlette.types import Message, Send

from serving_api.store.catalog import ModelVersion


class Prediction(BaseModel):
    """A prediction of one model for one entity."""

    model: str
    entity_id: str
    version: int = Field(description="milliseconds since the epoch")
    created_at: datetime = Field(description="time of the version")
    prediction: Any = Field(description="value that the model's prediction query selects")


class Predictions(BaseModel):
    """Predictions of one version of one model for many entities."""

    model: str
    version: int
    created_at: datetime
    predictions: dict[str, Any] = Field(description="by entity id, in the order of the request; null: no prediction")


class EntityPrediction(BaseModel):
    """A prediction of one of the models of an entity."""

    version: int
    created_at: datetime
    prediction: Any


class EntityPredictions(BaseModel):
    """Predictions of all models for one entity."""

    entity_type: str
    entity_id: str
    predictions: dict[str, EntityPrediction] = Field(description="by model")


def prediction(version: ModelVersion, entity_id: str, payload: bytes) -> bytes:
    """The JSON of a `Prediction`. `payload` is the stored prediction."""
    return b'{"model":"%b","entity_id":%b,%b,"prediction":%b}' % (
        version.model.encode(),
        _string(entity_id),
        version.json_members,
        payload,
    )


def predictions(version: ModelVersion, payloads: Iterable[tuple[str, bytes]]) -> bytes:
    """The JSON of `Predictions`. `payloads` is entity ids and their stored predictions, empty for none."""
    members = b",".join([b"%b:%b" % (_string(entity_id), payload or b"null") for entity_id, payload in payloads])
    return b'{"model":"%b",%b,"predictions":{%b}}' % (version.model.encode(), version.json_members, members)


def entity_predictions(entity_type: str, entity_id: str, payloads: Mapping[ModelVersion, bytes]) -> bytes:
    """The JSON of `EntityPredictions`. `payloads` is the stored predictions by version."""
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
    """The header Server-Timing (W3C) with the time that Bigtable took until now.

    Args:
        started: the time when the read was started, by `time.perf_counter`.
    """
    return {"Server-Timing": f"bigtable;dur={(time.perf_counter() - started) * 1e3:.2f}"}


def without_body(send: Send) -> Send:
    """A function that sends answers to HEAD: the headers of the answer to GET, and no body.

    Answers without a content length have one part.
    """
    start: Message | None = None

    async def send_head(message: Message) -> None:
        nonlocal start
        if message["type"] == "http.response.start":
            start = message
        elif start is not None:
            headers = start["headers"]
            if "body" in message and not any(name == b"content-length" for name, _ in headers):
                start = {**start, "headers": [*headers, (b"content-length", b"%d" % len(message["body"]))]}
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            start = None

    return send_head


def _string(value: str) -> bytes:
    return encode_basestring_ascii(value).encode()
