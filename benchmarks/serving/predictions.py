"""The predictions that are looked up, and the bytes by which they are asked for and answered.

Everything follows from the number of an entity, so that those who ask and those who answer need not share anything.
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
    """The prediction for an entity: values that look random and are always the same."""
    return {
        "probability": number * 7919 % 10_000 / 10_000,
        "buys_again": number * 7919 % 10_000 >= 5_000,  # noqa: PLR2004  a probability of one half
        "purchases": number * 31 % 17,
    }


def payload(number: int) -> bytes:
    """What the store has of it."""
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
    """The service's answer to a lookup of many entities, no two of them the same."""
    members = b",".join(b'"%b":%b' % (entity_id(number).encode(), payload(number)) for number in numbers)
    return b'{"model":"%b","version":%d,"created_at":"%b","predictions":{%b}}' % (
        MODEL.encode(),
        VERSION,
        CREATED_AT.encode(),
        members,
    )


CONSTANT = answer(entity_id(0), payload(0))
"""What applications that look nothing up answer: an answer of the usual size."""
