"""Requests to a server, and the expected answers, byte by byte."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.serving.predictions import (
    CONSTANT,
    CREATED_AT,
    MODEL,
    answer,
    batch_answer,
    entity_id,
    payload,
    prediction,
)

BATCH = 100
"""Entities in a batch request."""

ENTITY_KEY = "entity_id"
FEAST_FEATURES = ("purchases", "buys_again", "probability")
"""The features of Feast, in the order of its answers with PYTHONHASHSEED 0."""

FEAST_TIME = f"{CREATED_AT.split('.')[0]}Z"

LARGE_BATCH = 1_000
"""Entities in the largest batch request that the service takes by default."""

_BATCHES = 1_000
_LARGE_BATCHES = 50
_PATH = f"/v1/models/{MODEL}/predictions"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, and the body of the expected answer."""

    request: bytes
    body: bytes


def get(path: str) -> bytes:
    """A GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n".encode()


def post(path: str, document: Any) -> bytes:
    """A POST request with a JSON body."""
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def constant(_entities: int) -> list[Exchange]:
    """The request to applications that answer a constant."""
    return [Exchange(get("/constant"), CONSTANT)]


def lookups(entities: int) -> list[Exchange]:
    """One lookup of each entity."""
    return [
        Exchange(get(f"{_PATH}/{entity_id(number)}"), answer(entity_id(number), payload(number)))
        for number in range(entities)
    ]


def batches(entities: int) -> list[Exchange]:
    """Lookups of many entities in one request."""
    return [_batch(numbers) for numbers in _samples(entities)]


def large_batches(entities: int) -> list[Exchange]:
    """Lookups of as many entities in one request as the service takes."""
    return [_batch(numbers) for numbers in _samples(entities, LARGE_BATCH, _LARGE_BATCHES)]


def feast_lookups(entities: int) -> list[Exchange]:
    """One lookup of each entity in Feast."""
    return [_feast([number]) for number in range(entities)]


def feast_batches(entities: int) -> list[Exchange]:
    """Lookups of many entities in one request to Feast."""
    return [_feast(numbers) for numbers in _samples(entities)]


KINDS: dict[str, Callable[[int], list[Exchange]]] = {
    kind.__name__: kind for kind in (constant, lookups, batches, large_batches, feast_lookups, feast_batches)
}
"""Functions that make all exchanges of a kind for a number of entities."""


def _samples(entities: int, size: int = BATCH, number: int = _BATCHES) -> list[list[int]]:
    chance = random.Random(0)  # noqa: S311  the same in every run
    return [chance.sample(range(entities), min(size, entities)) for _ in range(number)]


def _batch(numbers: list[int]) -> Exchange:
    document = {"entity_ids": [entity_id(n) for n in numbers]}
    return Exchange(post(f"{_PATH}:batchGet", document), batch_answer(numbers))


def _feast(numbers: list[int]) -> Exchange:
    """An exchange with Feast's feature server, which answers column by column."""
    ids = [entity_id(number) for number in numbers]
    request = {"features": [f"{MODEL}:{name}" for name in FEAST_FEATURES], "entities": {ENTITY_KEY: ids}}
    columns: list[tuple[Sequence[Any], str]] = [(ids, "1970-01-01T00:00:00Z")]
    columns += [([prediction(number)[name] for number in numbers], FEAST_TIME) for name in FEAST_FEATURES]
    many = len(numbers)
    expected = {
        "results": [
            {"values": values, "statuses": ["PRESENT"] * many, "event_timestamps": [at] * many}
            for values, at in columns
        ],
        "metadata": {"feature_names": [ENTITY_KEY, *FEAST_FEATURES]},
    }
    return Exchange(post("/get-online-features", request), json.dumps(expected, separators=(",", ":")).encode())
