"""The read rule, as a filter that the server applies, and the reading of what it answers.

The prediction of an entity by a model at a version is the newest cell of the model's family whose timestamp is at
most the version; no such cell, or a tombstone, means that there is none.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from prediction_store.layout import COLUMN, cell_timestamp, stale_range
from prediction_store.protos import ReadRowsRequest, RowFilter

Row = tuple[bytes, dict[str, bytes]]
"""A row key, and the value of the newest cell by column family."""


def prediction_filter(versions: Mapping[str, int]) -> Any:
    """The filter that leaves at most one cell per model: its prediction at the given version.

    Args:
        versions: the version to read by model (column family); at least one.
    """
    filters = [_model_filter(model, version) for model, version in versions.items()]
    return filters[0] if len(filters) == 1 else RowFilter(interleave=RowFilter.Interleave(filters=filters))


def _model_filter(model: str, version: int) -> Any:
    end = cell_timestamp(version) + 1000  # exclusive
    return RowFilter(
        chain=RowFilter.Chain(
            filters=[
                RowFilter(family_name_regex_filter=re.escape(model)),
                RowFilter(column_qualifier_regex_filter=COLUMN),
                RowFilter(timestamp_range_filter={"end_timestamp_micros": end}),
                RowFilter(cells_per_column_limit_filter=1),
            ]
        )
    )


def stale_filter(model: str, active: int, version: int) -> Any:
    """The filter that leaves one cell, without its value, of each row with cells between two versions.

    Args:
        model: whose cells.
        active: the active version; 0: none.
        version: the version to be exported next.
    """
    return RowFilter(
        chain=RowFilter.Chain(
            filters=[
                RowFilter(family_name_regex_filter=re.escape(model)),
                RowFilter(column_qualifier_regex_filter=COLUMN),
                RowFilter(timestamp_range_filter=stale_range(active, version)),
                RowFilter(cells_per_row_limit_filter=1),
                RowFilter(strip_value_transformer=True),
            ]
        )
    )


def read_request(table: str, app_profile: str, row_keys: Iterable[bytes], row_filter: Any) -> Any:
    """A ReadRows request for some rows of a table (full name) through a filter."""
    request = ReadRowsRequest(table_name=table, app_profile_id=app_profile, filter=row_filter)
    request.rows.row_keys.extend(row_keys)
    return request


class RowAssembler:
    """Puts the chunks of ReadRows responses together into rows, for reads that leave one cell per family."""

    __slots__ = ("_cells", "_family", "_key", "_parts")

    def __init__(self) -> None:
        self._key = b""
        self._family = ""
        self._cells: dict[str, bytes] = {}
        self._parts: list[bytes] = []

    def feed(self, response: Any) -> list[Row]:
        """The rows that this response completes."""
        rows: list[Row] = []
        for chunk in response.chunks:
            if chunk.reset_row:
                self._cells, self._parts = {}, []
                continue
            if chunk.row_key:
                self._key = chunk.row_key
            if chunk.HasField("family_name"):
                self._family = chunk.family_name.value
            if chunk.value_size:  # the rest of this value is in the chunks that follow
                self._parts.append(chunk.value)
                continue
            if self._parts:
                self._parts.append(chunk.value)
                self._cells[self._family] = b"".join(self._parts)
                self._parts = []
            else:
                self._cells[self._family] = chunk.value
            if chunk.commit_row:
                rows.append((self._key, self._cells))
                self._cells = {}
        return rows
