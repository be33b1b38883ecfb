"""Mutations and read-modify-write rules: checked, then turned into changes of a row.

All mutations of a row are checked before the row is changed. So either all of them are applied, or none.
"""

import struct
from collections.abc import Container, Sequence
from typing import Any

from local_stack.bigtable.embedded.rpc import InvalidArgumentError, NotFoundError, UnimplementedError
from local_stack.bigtable.embedded.storage import Cell, Change, Column, Row, put_cell, server_timestamp

MAX_MUTATIONS = 100_000  # in one request; google.bigtable.v2, MutateRowsRequest.entries
MAX_ROW_KEY_BYTES = 4096  # Bigtable quotas and limits, "Row keys"
_SERVER_TIME = -1  # google.bigtable.v2, Mutation.SetCell.timestamp_micros
_COUNTER = struct.Struct(">q")  # google.bigtable.v2, ReadModifyWriteRule.increment_amount: big-endian, signed
_COUNTER_BITS = 64


def check_row_key(key: bytes) -> None:
    """Raise InvalidArgumentError unless a row with this key can be written."""
    if not key:
        raise InvalidArgumentError("Row keys must be non-empty")
    if len(key) > MAX_ROW_KEY_BYTES:
        raise InvalidArgumentError(f"row key of {len(key)} bytes: at most {MAX_ROW_KEY_BYTES} are allowed")


def check_mutation_count(count: int) -> None:
    """Raise InvalidArgumentError unless a request may have this many mutations."""
    if count == 0:
        raise InvalidArgumentError("No mutations provided")
    if count > MAX_MUTATIONS:
        raise InvalidArgumentError(f"{count} mutations in one request: at most {MAX_MUTATIONS} are allowed")


def parse_mutations(mutations: Sequence[Any], families: Container[str]) -> list[Change]:
    """Check `google.bigtable.v2.Mutation` messages; return them as changes of a row.

    Args:
        mutations: the mutations of one row, in order.
        families: the families of the table.

    Raises:
        InvalidArgumentError: a timestamp is negative or not in whole milliseconds, a time range ends before it
            starts, or a mutation is empty.
        NotFoundError: the table does not have a family.
        UnimplementedError: a mutation is for aggregate cells.
    """
    return [_parse(mutation, families) for mutation in mutations]


def check_family(name: str, families: Container[str]) -> None:
    """Raise NotFoundError unless the table has the family."""
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


def modified_cells(cells: Sequence[Cell], rules: Sequence[Any], families: Container[str]) -> list[Cell]:
    """Apply `google.bigtable.v2.ReadModifyWriteRule` messages, in order, to the newest cells of a row.

    Args:
        cells: the cells of the row, newest first in each column.
        rules: each appends to the newest value of a column or increments it.
        families: the families of the table.

    Returns:
        One new cell for each column that a rule names, in the order of the first rule for the column.

    Raises:
        InvalidArgumentError: there are no rules, a rule is empty, or an incremented value is not a counter.
        NotFoundError: the table does not have a family.
    """
    if not rules:
        raise InvalidArgumentError("No rules provided")
    newest: dict[Column, Cell] = {(cell.family, cell.qualifier): cell for cell in reversed(cells)}
    written: dict[Column, Cell] = {}
    for rule in rules:
        check_family(rule.family_name, families)
        column = (rule.family_name, rule.column_qualifier)
        before = newest.get(column)
        timestamp = max(server_timestamp(), before.timestamp if before else 0)
        cell = Cell(*column, timestamp, _modified(before.value if before else b"", rule))
        written[column] = newest[column] = cell
    return list(written.values())


def _modified(value: bytes, rule: Any) -> bytes:
    match rule.WhichOneof("rule"):
        case "append_value":
            return value + bytes(rule.append_value)
        case "increment_amount":
            if value and len(value) != _COUNTER.size:
                raise InvalidArgumentError("increment on non-64-bit value")
            count = _COUNTER.unpack(value)[0] if value else 0
            return _COUNTER.pack(_wrapped(count + rule.increment_amount))
        case _:
            raise InvalidArgumentError("a rule is empty: set append_value or increment_amount")


def _wrapped(count: int) -> int:
    half = 1 << (_COUNTER_BITS - 1)
    return (count + half) % (2 * half) - half
