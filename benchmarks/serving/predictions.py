"""The predictions in Bigtable, and the service's answers with them.

Everything follows from the number of an entity. So load generator and servers compute the same without shared state.
"""

import json
from datetime import UTC, datetime

from prediction_store.layout import Instance

INSTANCE = Instance("demo", "benchmark")
MODEL = "repeat_purchase"
ENTITY_TYPE = "customer"
VERSION = 1_795_462_342_077
CREATED_AT = f"{datetime.fromtimestamp(VERSION / 1000, UTC):%Y-%m-%dT%H:%M:%S}.{VERSION % 1000:03}Z"


def entity_id(number: int) -> str:
    """The id of an entity."""
    return f"{number:06}"


def prediction(number: int) -> dict[str, float | bool | int]:
    """The prediction of an entity. Values vary by entity and are the same in every run."""
    return {
        "probability": number * 7919 % 10_000 / 10_000,
        "buys_again": number * 7919 % 10_000 >= 5_000,  # noqa: PLR2004  a probability of one half
        "purchases": number * 31 % 17,
    }


def payload(number: int) -> bytes:
    """The prediction of an entity as it is stored."""
    return json.dumps(prediction(number), separators=(",", ":")).encode()


def answer(entity: str, stored: bytes) -> bytes:
    """The service's answer to a lookup."""
    return b'{"model":"%b","entity_id":"%b","version":%d,"created_at":"%b","prediction":%b}' % (
        MODEL.encode(),
        entity.encode(),
        VERSION,
        CREATED_AT.encode(),
        stored,
    )


def batch_answer(numbers: list[int]) -> bytes:
    """The service's answer to a lookup of many different entities."""
    return batch_answer_of([(entity_id(number), payload(number)) for number in numbers])


def batch_answer_of(found: list[tuple[str, bytes]]) -> bytes:
    """The service's answer with ids and predictions."""
    members = b",".join(b'"%b":%b' % (entity.encode(), stored) for entity, stored in found)
    return b'{"model":"%b","version":%d,"created_at":"%b","predictions":{%b}}' % (
        MODEL.encode(),
        VERSION,
        CREATED_AT.encode(),
        members,
    )


CONSTANT = answer(entity_id(0), payload(0))
"""The answer of applications that look nothing up, as long as an answer to a lookup."""
