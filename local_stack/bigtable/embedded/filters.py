"""Row sets and row filters: the rows and cells that a request selects."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from local_stack.bigtable.embedded.rpc import InvalidArgumentError, UnimplementedError
from local_stack.bigtable.embedded.storage import Cell, Column, Table, newest_first


class _ByteRange(NamedTuple):
    """The byte strings in `[lower, upper)`. `upper` None means no upper bound."""

    lower: bytes
    upper: bytes | None

    def __contains__(self, value: object) -> bool:
        return isinstance(value, bytes) and self.lower <= value and (self.upper is None or value < self.upper)


def _byte_range(message: Any, suffix: str) -> _ByteRange:
    """Read a range message. Its bounds are the oneofs `start_<suffix>` and `end_<suffix>`, each open or closed.

    The smallest byte string above `x` is `x` followed by a zero byte. So every range can be written as half-open.
    """
    start, end = message.WhichOneof(f"start_{suffix}"), message.WhichOneof(f"end_{suffix}")
    lower: bytes = getattr(message, start) if start else b""
    if start and start.endswith("_open"):
        lower += b"\0"
    upper: bytes | None = getattr(message, end) if end else None
    if upper is not None and end.endswith("_closed"):
        upper += b"\0"
    return _ByteRange(lower, upper)


def requested_keys(table: Table, row_set: Any) -> list[bytes]:
    """Return the keys of a `google.bigtable.v2.RowSet` that the table has, sorted, each once.

    An empty row set selects all rows.

    Raises:
        InvalidArgumentError: the start of a range is after its end.
    """
    ranges = [_row_range(message, index) for index, message in enumerate(row_set.row_ranges)]
    if not row_set.row_keys:
        if not ranges:
            return table.keys_between(b"", None)
        if len(ranges) == 1:
            return table.keys_between(*ranges[0])
    keys = table.existing(row_set.row_keys)
    for each in ranges:
        keys.update(table.keys_between(*each))
    return sorted(keys)


def _row_range(message: Any, index: int) -> _ByteRange:
    start, end = message.WhichOneof("start_key"), message.WhichOneof("end_key")
    if start and end and getattr(message, start) > getattr(message, end) > b"":
        raise InvalidArgumentError(f"Error in element #{index}: {start} must be less than {end}")
    lower, upper = _byte_range(message, "key")
    return _ByteRange(lower, upper or None)  # an empty end key is the end of the table


Filter = Callable[[bytes, list[Cell]], list[Cell]]
"""A function from a row's key and sorted cells to the cells that pass, in the same order."""


def compile_filter(row_filter: Any) -> Filter:
    """Compile a `google.bigtable.v2.RowFilter`. An empty filter passes all cells.

    Regular expressions are Python's. Their common syntax means the same in RE2, which Bigtable uses.

    Raises:
        InvalidArgumentError: the filter breaks a rule of the API.
        UnimplementedError: the embedded Bigtable does not support the filter.
    """
    kind = row_filter.WhichOneof("filter")
    if kind is None:
        return _everything
    if kind not in _COMPILERS:
        raise UnimplementedError(f"filter {kind} is not supported by the embedded Bigtable")
    return _COMPILERS[kind](getattr(row_filter, kind))


def _everything(_key: bytes, cells: list[Cell]) -> list[Cell]:
    return cells


def _nothing(_key: bytes, _cells: list[Cell]) -> list[Cell]:
    return []


def _pass_all(value: bool) -> Filter:  # noqa: FBT001  the value of the protocol's field
    if not value:
        raise InvalidArgumentError("pass_all_filter must be true if set")
    return _everything


def _block_all(value: bool) -> Filter:  # noqa: FBT001  the value of the protocol's field
    if not value:
        raise InvalidArgumentError("block_all_filter must be true if set")
    return _nothing


def _chain(chain: Any) -> Filter:
    filters = _several(chain, "Chain")

    def apply(key: bytes, cells: list[Cell]) -> list[Cell]:
        for each in filters:
            if not cells:
                break
            cells = each(key, cells)
        return cells

    return apply


def _interleave(interleave: Any) -> Filter:
    filters = _several(interleave, "Interleave")

    def apply(key: bytes, cells: list[Cell]) -> list[Cell]:
        merged = [cell for each in filters for cell in each(key, cells)]
        merged.sort(key=lambda cell: (cell.family, cell.qualifier, newest_first(cell)))
        return merged

    return apply


def _several(message: Any, name: str) -> list[Filter]:
    if len(message.filters) < 2:  # noqa: PLR2004  the rule that the message states
        raise InvalidArgumentError(f"{name} must contain at least two RowFilters")
    return [compile_filter(each) for each in message.filters]


def _condition(condition: Any) -> Filter:
    predicate = compile_filter(condition.predicate_filter)
    matched = compile_filter(condition.true_filter) if condition.HasField("true_filter") else _nothing
    unmatched = compile_filter(condition.false_filter) if condition.HasField("false_filter") else _nothing
    return lambda key, cells: (matched if predicate(key, cells) else unmatched)(key, cells)


def _row_key_regex(pattern: bytes) -> Filter:
    full_match = _regex(pattern, "row_key_regex_filter").fullmatch
    return lambda key, cells: cells if full_match(key) else []


def _family_name_regex(pattern: str) -> Filter:
    full_match = _regex(pattern.encode(), "family_name_regex_filter").fullmatch
    return lambda _key, cells: [cell for cell in cells if full_match(cell.family.encode())]


def _column_qualifier_regex(pattern: bytes) -> Filter:
    full_match = _regex(pattern, "column_qualifier_regex_filter").fullmatch
    return lambda _key, cells: [cell for cell in cells if full_match(cell.qualifier)]


def _value_regex(pattern: bytes) -> Filter:
    full_match = _regex(pattern, "value_regex_filter").fullmatch
    return lambda _key, cells: [cell for cell in cells if full_match(cell.value)]


def _regex(pattern: bytes, field: str) -> re.Pattern[bytes]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InvalidArgumentError(f"Error in field '{field}' : {pattern!r}: {error}") from error


def _column_range(message: Any) -> Filter:
    family, qualifiers = message.family_name, _byte_range(message, "qualifier")
    return lambda _key, cells: [cell for cell in cells if cell.family == family and cell.qualifier in qualifiers]


def _value_range(message: Any) -> Filter:
    values = _byte_range(message, "value")
    return lambda _key, cells: [cell for cell in cells if cell.value in values]


def _timestamp_range(message: Any) -> Filter:
    start, end = message.start_timestamp_micros, message.end_timestamp_micros
    if not end:  # no upper bound
        return lambda _key, cells: [cell for cell in cells if cell.timestamp >= start]
    return lambda _key, cells: [cell for cell in cells if start <= cell.timestamp < end]


def _cells_per_column_limit(limit: int) -> Filter:
    _check_positive(limit, "cells_per_column_limit_filter")

    def apply(_key: bytes, cells: list[Cell]) -> list[Cell]:
        taken: dict[Column, int] = {}
        passed = []
        for cell in cells:
            column = (cell.family, cell.qualifier)
            count = taken.get(column, 0)
            if count < limit:
                taken[column] = count + 1
                passed.append(cell)
        return passed

    return apply


def _cells_per_row_limit(limit: int) -> Filter:
    _check_positive(limit, "cells_per_row_limit_filter")
    return lambda _key, cells: cells[:limit]


def _cells_per_row_offset(offset: int) -> Filter:
    if offset < 0:
        raise InvalidArgumentError(f"Error in field 'cells_per_row_offset_filter' : {offset} must be >= 0")
    return lambda _key, cells: cells[offset:]


def _check_positive(limit: int, field: str) -> None:
    if limit <= 0:
        raise InvalidArgumentError(f"Error in field '{field}' : {limit} must be > 0")


def _strip_value(_value: object) -> Filter:
    return lambda _key, cells: [cell._replace(value=b"") for cell in cells]


_COMPILERS: dict[str, Callable[[Any], Filter]] = {
    "pass_all_filter": _pass_all,
    "block_all_filter": _block_all,
    "chain": _chain,
    "interleave": _interleave,
    "condition": _condition,
    "row_key_regex_filter": _row_key_regex,
    "family_name_regex_filter": _family_name_regex,
    "column_qualifier_regex_filter": _column_qualifier_regex,
    "value_regex_filter": _value_regex,
    "column_range_filter": _column_range,
    "value_range_filter": _value_range,
    "timestamp_range_filter": _timestamp_range,
    "cells_per_column_limit_filter": _cells_per_column_limit,
    "cells_per_row_limit_filter": _cells_per_row_limit,
    "cells_per_row_offset_filter": _cells_per_row_offset,
    "strip_value_transformer": _strip_value,
}
