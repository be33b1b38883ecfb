"""The messages of Bigtable's data API: requests that read, write and purge predictions, and the rows of responses.

The read rule is a filter that the server applies. The prediction of an entity by a model at a version is the newest
cell of the model's family whose timestamp is at most the version. If there is no such cell, or if it is a tombstone,
there is no prediction.

The protobuf classes are used without their proto-plus wrappers, which take four times as long per row.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from google.cloud.bigtable_v2.types import bigtable, data, feature_flags

from prediction_store.layout import COLUMN, REGISTRY_FAMILY, cell_timestamp, stale_range

ReadRowsRequest: Any = bigtable.ReadRowsRequest.pb()
ReadRowsResponse: Any = bigtable.ReadRowsResponse.pb()
PingAndWarmRequest: Any = bigtable.PingAndWarmRequest.pb()
MutateRowsRequest: Any = bigtable.MutateRowsRequest.pb()
MutateRowsResponse: Any = bigtable.MutateRowsResponse.pb()
CheckAndMutateRowRequest: Any = bigtable.CheckAndMutateRowRequest.pb()
CheckAndMutateRowResponse: Any = bigtable.CheckAndMutateRowResponse.pb()
SampleRowKeysRequest: Any = bigtable.SampleRowKeysRequest.pb()
SampleRowKeysResponse: Any = bigtable.SampleRowKeysResponse.pb()
FeatureFlags: Any = feature_flags.FeatureFlags.pb()
RowSet: Any = data.RowSet.pb()
RowFilter: Any = data.RowFilter.pb()

Cell = tuple[str, bytes, int, bytes, tuple[str, ...]]
"""The family, qualifier, timestamp in µs, value and labels of a cell."""

Row = tuple[bytes, dict[str, bytes]]
"""A row key, and the value of the newest cell by column family."""


class InvalidAnswerError(Exception):
    """An answer to ReadRows breaks the rules of its protocol, so its rows cannot be trusted."""


def prediction_filter(versions: Mapping[str, int]) -> Any:
    """A filter that leaves at most one cell per model: its prediction at the given version.

    Args:
        versions: the version to read of each model (column family); at least one.
    """
    filters = [_model_filter(model, version) for model, version in versions.items()]
    return filters[0] if len(filters) == 1 else RowFilter(interleave=RowFilter.Interleave(filters=filters))


def _model_filter(model: str, version: int) -> Any:
    end = cell_timestamp(version) + 1000  # exclusive
    return _chain(
        model,
        RowFilter(timestamp_range_filter={"end_timestamp_micros": end}),
        RowFilter(cells_per_column_limit_filter=1),
    )


def stale_filter(model: str, active: int, version: int) -> Any:
    """A filter that leaves one cell, without its value, of each row that has stale cells.

    Args:
        model: the model whose cells are read.
        active: the model's active version, or 0 if it has none.
        version: the version to be exported next.
    """
    return _chain(
        model,
        RowFilter(timestamp_range_filter=stale_range(active, version)),
        RowFilter(cells_per_row_limit_filter=1),
        RowFilter(strip_value_transformer=True),
    )


def _chain(model: str, *filters: Any) -> Any:
    """A filter that applies filters to the cells of a model, one after the other."""
    family = RowFilter(family_name_regex_filter=re.escape(model))
    column = RowFilter(column_qualifier_regex_filter=COLUMN)
    return RowFilter(chain=RowFilter.Chain(filters=[family, column, *filters]))


def registry_filter(column: bytes | None = None, value: bytes | None = None) -> Any:
    """A filter of a row of the registry that leaves the newest cell of each column.

    Args:
        column: a regular expression that the column must match; None for all columns.
        value: a regular expression that the newest value must match; None for all values.
    """
    filters = [RowFilter(family_name_regex_filter=REGISTRY_FAMILY)]
    if column is not None:
        filters.append(RowFilter(column_qualifier_regex_filter=column))
    filters.append(RowFilter(cells_per_column_limit_filter=1))
    if value is not None:
        filters.append(RowFilter(value_regex_filter=value))
    return RowFilter(chain=RowFilter.Chain(filters=filters))


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
    deletion = {"family_name": model, "column_qualifier": COLUMN, "time_range": stale_range(active, version)}
    return MutateRowsRequest.Entry(mutations=[{"delete_from_column": deletion}])


class _Assembler:
    """The state between two chunks of an answer to ReadRows.

    The rules are those of the comments on CellChunk in google/bigtable/v2/bigtable.proto, and of Google's conformance
    tests, which tests/prediction_store/test_assembly.py runs.
    """

    __slots__ = ("_cells", "_family", "_key", "_labels", "_last", "_parts", "_qualifier", "_size", "_timestamp")

    def __init__(self) -> None:
        self._last = b""
        self._key = b""
        """The key of the row that is not complete; empty between two rows."""
        self._cells: list[Cell] = []
        self._family = ""
        self._qualifier = b""
        self._timestamp = 0
        self._labels: tuple[str, ...] = ()
        self._parts: list[bytes] = []
        """The parts of a value of `_size` bytes that is not complete."""
        self._size = 0

    def finish(self) -> None:
        """Check the end of the answer.

        Raises:
            InvalidAnswerError: the answer ended within a row.
        """
        if self._key:
            raise InvalidAnswerError(f"the answer ended within the row {self._key!r}")

    def _take(self, chunk: Any) -> list[Cell] | None:
        """Take the next chunk; return the cells of the row `_last` if the chunk completes it."""
        if chunk.reset_row:
            self._reset(chunk)
            return None
        if not self._key:
            self._begin_row(chunk)
        elif chunk.row_key and chunk.row_key != self._key:
            raise InvalidAnswerError(f"the row {chunk.row_key!r} begins before {self._key!r} is complete")
        if self._parts:
            self._check_part(chunk)
        else:
            self._begin_cell(chunk)
        if chunk.value_size:
            self._parts.append(chunk.value)
            self._size = chunk.value_size
            if chunk.commit_row:
                raise InvalidAnswerError(f"the row {self._key!r} is complete, but not its last value")
            return None
        value = chunk.value
        if self._parts:
            value = b"".join((*self._parts, value))
            self._parts = []
            if len(value) != self._size:
                raise InvalidAnswerError(f"a value of {self._size} bytes has {len(value)}")
        self._cells.append((self._family, self._qualifier, self._timestamp, value, self._labels))
        if not chunk.commit_row:
            return None
        cells, self._cells = self._cells, []
        self._last, self._key = self._key, b""
        return cells

    def _reset(self, chunk: Any) -> None:
        if not self._key:
            raise InvalidAnswerError("a reset without a row")
        if chunk.ByteSize() != _RESET_BYTES:
            raise InvalidAnswerError(f"a reset of the row {self._key!r} has other fields")
        self._key, self._cells, self._parts = b"", [], []

    def _begin_row(self, chunk: Any) -> None:
        key = chunk.row_key
        if key <= self._last:
            raise InvalidAnswerError(f"the row {key!r} follows {self._last!r}" if key else "a row without a key")
        if not chunk.HasField("family_name"):
            raise InvalidAnswerError(f"the row {key!r} begins without a family")
        self._key = key

    def _begin_cell(self, chunk: Any) -> None:
        if chunk.HasField("family_name"):
            if not chunk.HasField("qualifier"):
                raise InvalidAnswerError(f"a family of the row {self._key!r} begins without a column")
            self._family = chunk.family_name.value
        if chunk.HasField("qualifier"):
            self._qualifier = chunk.qualifier.value
        self._timestamp = chunk.timestamp_micros
        self._labels = tuple(chunk.labels)

    def _check_part(self, chunk: Any) -> None:
        if chunk.HasField("family_name") or chunk.HasField("qualifier"):
            raise InvalidAnswerError(f"a column of the row {self._key!r} begins within a value")
        if chunk.value_size and chunk.value_size != self._size:
            raise InvalidAnswerError(f"a value of {self._size} bytes becomes one of {chunk.value_size}")


class CellAssembler(_Assembler):
    """Joins the chunks of ReadRows responses into rows with all their cells."""

    __slots__ = ()

    def feed(self, response: Any) -> list[tuple[bytes, list[Cell]]]:
        """Take the next response of the stream; return the rows that it completes, with their cells in order.

        Raises:
            InvalidAnswerError: the response breaks the rules of the protocol.
        """
        return [(self._last, cells) for chunk in response.chunks if (cells := self._take(chunk)) is not None]


def newest_by_column(cells: Iterable[Cell]) -> dict[bytes, bytes]:
    """The value of the newest cell by column, of a row whose cells have one family. Bigtable sends that cell first."""
    values: dict[bytes, bytes] = {}
    for _, column, _, value, _ in cells:
        values.setdefault(column, value)
    return values


class RowAssembler(_Assembler):
    """Joins the chunks of ReadRows responses into rows, for reads that leave one column per family."""

    __slots__ = ()

    def feed(self, response: Any) -> list[Row]:
        """Take the next response of the stream; return the rows that it completes.

        Raises:
            InvalidAnswerError: the response breaks the rules of the protocol.
        """
        rows: list[Row] = []
        for chunk in response.chunks:
            key = chunk.row_key
            # Almost every row is one chunk. This takes half the time of `_take`.
            if (
                key > self._last
                and chunk.commit_row
                and not self._key
                and not chunk.value_size
                and not chunk.reset_row
                and chunk.HasField("qualifier")
                and chunk.HasField("family_name")
            ):
                self._last = key
                rows.append((key, {chunk.family_name.value: chunk.value}))
            elif (cells := self._take(chunk)) is not None:
                # Bigtable sends the newest cell of a column first.
                rows.append((self._last, {family: value for family, _, _, value, _ in reversed(cells)}))
        return rows


_RESET_BYTES = ReadRowsResponse.CellChunk(reset_row=True).ByteSize()
