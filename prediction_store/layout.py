"""Row keys, columns and cell timestamps.

One table per entity type, one row per entity, one column family per model, one column. A *version* of a model's
predictions is a number of milliseconds since the Unix epoch, and the timestamp of the cells that were written by it.

The registry is a table of its own, with a row per model.
"""

import hashlib
from typing import Literal

RowKeyFormat = Literal["plain", "hashed"]

COLUMN = b"p"
TOMBSTONE = b""

REGISTRY_TABLE = "prediction_versions"
REGISTRY_FAMILY = "state"
REGISTRY_DOCUMENT = b"document"
REGISTRY_REVISION = b"revision"

MAX_ENTITY_ID_BYTES = 4096 - 5
"""Bigtable's limit of 4 KiB on a row key, less what the hashed format puts in front of the id."""


def row_key(entity_id: str, row_keys: RowKeyFormat) -> bytes:
    """The row key of an entity: its id in UTF-8, behind four hex digits of its MD5 and `#` where `hashed`.

    Raises:
        ValueError: the id is empty or longer than `MAX_ENTITY_ID_BYTES`.
    """
    encoded = entity_id.encode()
    if not 0 < len(encoded) <= MAX_ENTITY_ID_BYTES:
        raise ValueError(f"an entity id has 1 to {MAX_ENTITY_ID_BYTES} bytes of UTF-8; this one has {len(encoded)}")
    if row_keys == "plain":
        return encoded
    return b"%b#%b" % (hashlib.md5(encoded, usedforsecurity=False).hexdigest()[:4].encode(), encoded)


def entity_id(row_key: bytes, row_keys: RowKeyFormat) -> str:
    """The entity id of a row key: the inverse of `row_key`."""
    return (row_key if row_keys == "plain" else row_key[5:]).decode()


def cell_timestamp(version: int) -> int:
    """The timestamp in microseconds of the cells of a version, which counts in milliseconds."""
    return version * 1000


def stale_range(active: int, version: int) -> dict[str, int]:
    """The timestamps above the active version and below the one to be exported, as fields of a TimestampRange.

    Bounded on both sides: a purge that runs on after its time deletes nothing of a newer export.
    """
    return {
        "start_timestamp_micros": cell_timestamp(active + 1),
        "end_timestamp_micros": cell_timestamp(version),  # exclusive
    }
