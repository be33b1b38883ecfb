"""Checks mutations and turns them into changes of a row.

Everything is checked before anything is changed, so a row takes all of its mutations or none.
"""

from collections.abc import Container, Sequence
from typing import Any

from local_stack.bigtable.embedded.cells import Cell, Row, put_cell, server_timestamp
from local_stack.bigtable.embedded.errors import InvalidArgumentError, NotFoundError, UnimplementedError
from local_stack.bigtable.embedded.tables import Change

MAX_MUTATIONS = 100_000  # of one request; google.bigtable.v2, MutateRowsRequest.entries
MAX_ROW_KEY_BYTES = 4096  # Bigtable quotas and limits, "Row keys"
_SERVER_TIME = -1  # google.bigtable.v2, Mutation.SetCell.timestamp_micros


def check_row_key(key: bytes) -> None:
    """Raises InvalidArgumentError unless the key may name a row that is written."""
    if not key:
        raise InvalidArgumentError("Row keys must be non-empty")
    if len(key) > MAX_ROW_KEY_BYTES:
        raise InvalidArgumentError(f"row key of {len(key)} bytes: at most {MAX_ROW_KEY_BYTES} are allowed")


def check_mutation_count(count: int) -> None:
    """Raises InvalidArgumentError unless a request may hold this many mutations."""
    if count == 0:
        raise InvalidArgumentError("No mutations provided")
    if count > MAX_MUTATIONS:
        raise InvalidArgumentError(f"{count} mutations in one request: at most {MAX_MUTATIONS} are allowed")


def parse_mutations(mutations: Sequence[Any], families: Container[str]) -> list[Change]:
    """Checks `google.bigtable.v2.Mutation`s against the families of their table.

    Raises:
        InvalidArgumentError: a timestamp that is not a whole, non-negative number of milliseconds, an inverted
            time range, or a mutation without content.
        NotFoundError: a family that the table does not have.
        UnimplementedError: a mutation of aggregate cells.
    """
    return [_parse(mutation, families) for mutation in mutations]


def check_family(name: str, families: Container[str]) -> None:
    """Raises NotFoundError unless the table has the family."""
    if name not in families:
        raise NotFoundError(f'unknown family "{name}"')


def _parse(mutation: Any, families: Container[str]) -> Change:
    match mutation.WhichOneof("mutation"):
        case "set_cell":
            return _set_cell(mutation.set_cell, families)
        case "delete_from_column":
            return _delete_from_column(mutation.delete_from_column, families)
        case "delete_from_family":
            check_family(mutation.delete_from_family.family_name, families)
            return _delete_from_family(mutation.delete_from_family.family_name)
        case "delete_from_row":
            return dict.clear
        case None:
            raise InvalidArgumentError("a mutation is empty: set one of its fields")
        case kind:
            raise UnimplementedError(f"mutation {kind} is not supported by the embedded Bigtable")


def _set_cell(mutation: Any, families: Container[str]) -> Change:
    family = mutation.family_name
    check_family(family, families)
    timestamp = mutation.timestamp_micros
    if timestamp == _SERVER_TIME:
        timestamp = server_timestamp()
    else:
        _check_timestamp(timestamp)
    cell = Cell(family, mutation.column_qualifier, timestamp, mutation.value)
    return lambda row: put_cell(row, cell)


def _delete_from_column(mutation: Any, families: Container[str]) -> Change:
    check_family(mutation.family_name, families)
    column = (mutation.family_name, mutation.column_qualifier)
    start, end = mutation.time_range.start_timestamp_micros, mutation.time_range.end_timestamp_micros
    _check_timestamp(start)
    _check_timestamp(end)
    if end and start >= end:
        raise InvalidArgumentError(f"inverted or invalid timestamp range [{start}, {end}]")

    def change(row: Row) -> None:
        kept = [cell for cell in row.pop(column, ()) if cell.timestamp < start or (end and cell.timestamp >= end)]
        if kept:
            row[column] = kept

    return change


def _delete_from_family(family: str) -> Change:
    def change(row: Row) -> None:
        for column in [column for column in row if column[0] == family]:
            del row[column]

    return change


def _check_timestamp(micros: int) -> None:
    if micros < 0 or micros % 1000:
        raise InvalidArgumentError(f"invalid timestamp {micros}: must be whole, non-negative milliseconds")
