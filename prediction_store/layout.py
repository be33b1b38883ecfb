"""The layout of predictions in Bigtable: names of tables, row keys, columns and cell timestamps.

One table per entity type, one row per entity, one column family per model, one column. A version of a model's
predictions is a number of milliseconds since the epoch. It is the timestamp of the version's cells.

The registry is a table of its own, with one row per model.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

RowKeyFormat = Literal["plain", "hashed"]

COLUMN = b"p"
TOMBSTONE = b""

REGISTRY_TABLE = "prediction_versions"
REGISTRY_FAMILY = "state"
REGISTRY_DOCUMENT = b"document"
REGISTRY_REVISION = b"revision"
REGISTRY_WRITE_LEASE = b"write_lease"
REGISTRY_TIMESTAMP = 4_000_000_000_000_000
"""The timestamp of every cell in the registry, in microseconds: in the year 2096.

A write with the timestamp of a cell replaces the cell, so that a row does not grow until garbage collection
(https://docs.cloud.google.com/bigtable/docs/gc-latest-value). Earlier checkouts wrote lower timestamps, which this one
hides.
"""

MAX_ENTITY_ID_BYTES = 4096 - 5
"""Bigtable's limit of 4 KiB for a row key, less the prefix of the hashed format."""


@dataclass(frozen=True, slots=True)
class Instance:
    """A Bigtable instance."""

    project: str
    instance: str

    @property
    def name(self) -> str:
        """The instance's full name."""
        return f"projects/{self.project}/instances/{self.instance}"

    def table(self, table: str) -> str:
        """The full name of one of the instance's tables."""
        return f"{self.name}/tables/{table}"


def row_key(entity_id: str, row_keys: RowKeyFormat) -> bytes:
    """The row key of an entity: its id in UTF-8.

    The `hashed` format puts four hex digits of the id's MD5 and `#` in front, so that sequential ids do not load one
    tablet. `beam_jobs.mutations.encode_row_keys` makes the same keys for a column of ids.

    Raises:
        ValueError: the id is empty or longer than `MAX_ENTITY_ID_BYTES`.
    """
    encoded = entity_id.encode()
    if not 0 < len(encoded) <= MAX_ENTITY_ID_BYTES:
        raise ValueError(f"an entity id has 1 to {MAX_ENTITY_ID_BYTES} bytes of UTF-8; this one has {len(encoded)}")
    if row_keys == "plain":
        return encoded
    return b"%b#%b" % (hashlib.md5(encoded, usedforsecurity=False).hexdigest()[:4].encode(), encoded)


def cell_timestamp(version: int) -> int:
    """The timestamp of a version's cells, in microseconds since the epoch."""
    return version * 1000


def stale_range(active: int, version: int) -> dict[str, int]:
    """The timestamps above the active version and below the version to be exported, as fields of a TimestampRange.

    The upper end keeps a purge that runs for too long from deleting cells of a newer export.
    """
    return {
        "start_timestamp_micros": cell_timestamp(active + 1),
        "end_timestamp_micros": cell_timestamp(version),  # exclusive
    }
