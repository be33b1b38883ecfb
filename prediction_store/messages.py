"""The messages of Bigtable's data API: requests that read, write and purge predictions, and the rows of responses.

The read rule is a filter that the server applies. The prediction of an entity by a model at a version is the newest
cell of the model's family whose timestamp is at most the version. If there is no such cell, or if it is a tombstone,
there is no prediction.

The protobuf classes are used without their proto-plus wrappers, which take four times as long per row.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from google.cloud.bigtable_v2.types import bigtable, data

from prediction_store.layout import COLUMN, cell_timestamp, stale_range

ReadRowsRequest: Any = bigtable.ReadRowsRequest.pb()
ReadRowsResponse: Any = bigtable.ReadRowsResponse.pb()
PingAndWarmRequest: Any = bigtable.PingAndWarmRequest.pb()
MutateRowsRequest: Any = bigtable.MutateRowsRequest.pb()
MutateRowsResponse: Any = bigtable.MutateRowsResponse.pb()
CheckAndMutateRowRequest: Any = bigtable.CheckAndMutateRowRequest.pb()
CheckAndMutateRowResponse: Any = bigtable.CheckAndMutateRowResponse.pb()
SampleRowKeysRequest: Any = bigtable.SampleRowKeysRequest.pb()
SampleRowKeysResponse: Any = bigtable.SampleRowKeysResponse.pb()
RowSet: Any = data.RowSet.pb()
RowFilter: Any = data.RowFilter.pb()
TimestampRange: Any = data.TimestampRange.pb()

Row = tuple[bytes, dict[Any, bytes]]
"""A row key, and the value of the newest cell by column family or by column."""


def prediction_filter(versions: Mapping[str, int]) -> Any:
    """A filter that leaves at most one cell per model: its prediction at the given version.

    Args:
        versions: the version to read of each model (column family); at least one.
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
    """A filter that leaves one cell, without its value, of each row that has stale cells.

    Args:
        model: the model whose cells are read.
        active: the model's active version, or 0 if it has none.
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
    """A ReadRows request for some rows of a table.

    Args:
        table: the table's full name.
        app_profile: the app profile; empty for the instance's default.
        row_keys: the rows to read.
        row_filter: the filter that the server applies to each row.
    """
    request = ReadRowsRequest(table_name=table, app_profile_id=app_profile, filter=row_filter)
    request.rows.row_keys.extend(row_keys)
    return request


def prediction_entry(model: str, version: int) -> tuple[Any, Any]:
    """A template of an entry that writes a prediction.

    Returns:
        The entry and its cell. For each row, set the entry's `row_key` and the cell's `value`; an empty value is a
        tombstone.
    """
    entry = MutateRowsRequest.Entry()
    cell = entry.mutations.add().set_cell
    cell.family_name = model
    cell.column_qualifier = COLUMN
    cell.timestamp_micros = cell_timestamp(version)
    return entry, cell


def purge_entry(model: str, active: int, version: int) -> Any:
    """A template of an entry that deletes a model's stale cells. Set its `row_key` for each row.

    Args:
        model: the model whose cells are deleted.
        active: the model's active version, or 0 if it has none.
        version: the version to be exported next.
    """
    entry = MutateRowsRequest.Entry()
    deletion = entry.mutations.add().delete_from_column
    deletion.family_name = model
    deletion.column_qualifier = COLUMN
    deletion.time_range.MergeFrom(TimestampRange(**stale_range(active, version)))
    return entry


class RowAssembler:
    """Joins the chunks of ReadRows responses into rows, for reads that leave one cell per family or per column."""

    __slots__ = ("_by", "_cells", "_key", "_name", "_parts")

    def __init__(self, by: Literal["family_name", "qualifier"] = "family_name") -> None:
        """Start with no row.

        Args:
            by: the field of a chunk that tells the cells of a row apart: the family, or the column of a single family.
        """
        self._by = by
        self._key = b""
        self._name: str | bytes = ""
        self._cells: dict[Any, bytes] = {}
        self._parts: list[bytes] = []

    def feed(self, response: Any) -> list[Row]:
        """Take the next response of the stream; return the rows that it completes."""
        rows: list[Row] = []
        for chunk in response.chunks:
            if chunk.reset_row:
                self._cells, self._parts = {}, []
                continue
            if chunk.row_key:
                self._key = chunk.row_key
            if chunk.HasField(self._by):
                self._name = getattr(chunk, self._by).value
            if chunk.value_size:  # the value continues in the next chunk
                self._parts.append(chunk.value)
                continue
            if self._parts:
                self._parts.append(chunk.value)
                self._cells[self._name] = b"".join(self._parts)
                self._parts = []
            else:
                self._cells[self._name] = chunk.value
            if chunk.commit_row:
                rows.append((self._key, self._cells))
                self._cells = {}
        return rows
