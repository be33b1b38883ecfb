"""Appends to values and increments counters."""

import struct
from collections.abc import Container, Sequence
from typing import Any

from google.cloud.bigtable_v2.types import bigtable

from local_stack.bigtable.embedded.cells import Cell, Column, server_timestamp
from local_stack.bigtable.embedded.errors import InvalidArgumentError
from local_stack.bigtable.embedded.mutations import check_family

_ReadModifyWriteRowResponse = bigtable.ReadModifyWriteRowResponse.pb()

_COUNTER = struct.Struct(">q")  # counters are 64-bit signed big-endian
_COUNTER_BITS = 64


def modified_cells(cells: Sequence[Cell], rules: Sequence[Any], families: Container[str]) -> list[Cell]:
    """Applies `google.bigtable.v2.ReadModifyWriteRule`s, in order, to the newest cells of a row.

    Returns:
        The new cell of each column that a rule names, in the order in which they are first named.

    Raises:
        InvalidArgumentError: no rules, a rule without content, or an increment of what is not a counter.
        NotFoundError: a family that the table does not have.
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


def read_modify_write_response(key: bytes, cells: Sequence[Cell]) -> Any:
    """Returns the response for a row whose new cells these are, each of its own column."""
    response = _ReadModifyWriteRowResponse()
    response.row.key = key
    families: dict[str, Any] = {}
    for cell in sorted(cells):
        family = families.get(cell.family)
        if family is None:
            family = families[cell.family] = response.row.families.add(name=cell.family)
        column = family.columns.add(qualifier=cell.qualifier)
        column.cells.add(timestamp_micros=cell.timestamp, value=cell.value)
    return response
