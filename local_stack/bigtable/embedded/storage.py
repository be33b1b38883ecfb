"""Tables in memory: rows, cells, and the garbage collection of cells."""

import random
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from local_stack.bigtable import Timing
from local_stack.bigtable.embedded.rpc import AlreadyExistsError, NotFoundError


class Cell(NamedTuple):
    """One version of one column of a row. `timestamp` is in microseconds since the epoch."""

    family: str
    qualifier: bytes
    timestamp: int
    value: bytes


Column = tuple[str, bytes]
"""Family and qualifier."""

Row = dict[Column, list[Cell]]
"""The cells of each column, newest first. No two cells of a column have the same timestamp."""

Change = Callable[[Row], None]
"""A checked mutation. It cannot fail."""


def newest_first(cell: Cell) -> int:
    """Return the key that sorts the cells of one column."""
    return -cell.timestamp


def put_cell(row: Row, cell: Cell) -> None:
    """Add a cell. It replaces the cell with the same column and timestamp, if there is one."""
    cells = row.setdefault((cell.family, cell.qualifier), [])
    index = bisect_left(cells, -cell.timestamp, key=newest_first)
    if index < len(cells) and cells[index].timestamp == cell.timestamp:
        cells[index] = cell
    else:
        cells.insert(index, cell)


def server_timestamp() -> int:
    """Return the current time in microseconds since the epoch, rounded down to Bigtable's whole milliseconds."""
    return time.time_ns() // 1_000_000 * 1000


class Database:
    """Tables by their full names, `projects/P/instances/I/tables/T`. Every project and instance is accepted."""

    def __init__(self, garbage_collection: Timing) -> None:
        self._tables: dict[str, Table] = {}
        self._garbage_collection: Timing = garbage_collection

    def create(self, name: str, families: Mapping[str, Any]) -> "Table":
        """Create a table with these `google.bigtable.admin.v2.ColumnFamily` messages.

        Raises:
            AlreadyExistsError: the table exists.
        """
        if name in self._tables:
            raise AlreadyExistsError(f'table "{name}" already exists')
        self._tables[name] = Table(families, self._garbage_collection)
        return self._tables[name]

    def require(self, name: str) -> None:
        """Raise NotFoundError unless the table exists."""
        if name not in self._tables:
            raise NotFoundError(f'table "{name}" not found')

    def table(self, name: str) -> "Table":
        """Return a table; raise NotFoundError if it does not exist."""
        self.require(name)
        return self._tables[name]

    def delete(self, name: str) -> None:
        """Delete a table; raise NotFoundError if it does not exist."""
        self.require(name)
        del self._tables[name]

    def names(self, prefix: str) -> list[str]:
        """Return the names that start with a prefix, sorted."""
        return sorted(name for name in self._tables if name.startswith(prefix))


class Table:
    """Rows by key. The keys are sorted when a range of them is read."""

    def __init__(self, families: Mapping[str, Any], garbage_collection: Timing) -> None:
        self._garbage_collection: Timing = garbage_collection
        self._rows: dict[bytes, Row] = {}
        self._sorted_keys: list[bytes] | None = []
        self.set_families(families)

    @property
    def families(self) -> Mapping[str, Any]:
        """The `google.bigtable.admin.v2.ColumnFamily` messages, by family name."""
        return self._families

    def set_families(self, families: Mapping[str, Any]) -> None:
        """Replace the families. Cells of families that are no longer there are deleted."""
        self._families = dict(families)
        self._garbage_collector = GarbageCollector(families, self._garbage_collection)
        for key in list(self._rows):
            self.change(key, [_keep_families(self._families)])

    def cells(self, key: bytes) -> list[Cell]:
        """Return the cells of a row, sorted by family, qualifier and newest first; empty if there is no such row."""
        row = self._rows.get(key)
        if row is None:
            return []
        self._garbage_collector.collect(row)
        return [cell for column in sorted(row) for cell in row[column]]

    def change(self, key: bytes, changes: Iterable[Change]) -> None:
        """Apply all changes to a row. The row is created when it gets its first cell, and deleted with its last one."""
        row = self._rows.get(key)
        is_new = row is None
        if row is None:
            row = {}
        for change in changes:
            change(row)
        self._garbage_collector.collect(row)
        if row and is_new:
            self._rows[key] = row
            self._sorted_keys = None
        elif not row and not is_new:
            del self._rows[key]

    def existing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Return those of the keys that have a row."""
        return self._rows.keys() & set(keys)

    def keys_between(self, lower: bytes, upper: bytes | None) -> list[bytes]:
        """Return the keys in `[lower, upper)`, sorted. `upper` None is the end of the table.

        A row of these keys may have been deleted or may have lost all cells: then `cells` returns none.
        """
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self._rows)
        keys = self._sorted_keys
        end = len(keys) if upper is None else bisect_left(keys, upper)
        return keys[bisect_left(keys, lower) : end]

    def drop(self, prefix: bytes) -> None:
        """Delete the rows whose keys start with a prefix. The empty prefix deletes all rows."""
        self._rows = {key: row for key, row in self._rows.items() if not key.startswith(prefix)}
        self._sorted_keys = None


def _keep_families(families: Mapping[str, Any]) -> Change:
    def change(row: Row) -> None:
        for column in [column for column in row if column[0] not in families]:
            del row[column]

    return change


# Garbage collection. Each rule keeps the newest cells of a column and deletes the others, so a rule is the number of
# cells that it keeps.

_KeptCount = Callable[[Sequence[Cell]], int]
"""The number of cells that a rule keeps, given a column's cells, newest first. May exceed the number of cells."""


_PROBABILITY: Mapping[Timing, float] = {"eager": 1, "lazy": 0.1, "off": 0}


class GarbageCollector:
    """The garbage collection rules of a table.

    Production and Google's emulator collect garbage some time after a change, which may be a week. The embedded
    Bigtable collects the garbage of a row when the row is read or changed: each time (eager), in one case of ten
    (lazy), or never.
    """

    def __init__(self, families: Mapping[str, Any], timing: Timing) -> None:
        """Compile the rules of these `google.bigtable.admin.v2.ColumnFamily` messages, by family name."""
        self._probability = _PROBABILITY[timing]
        self._kept_counts = {
            name: _compile_rule(family.gc_rule) for name, family in families.items() if family.HasField("gc_rule")
        }

    def collect(self, row: Row) -> None:
        """Delete the cells of a row that the rules of their families do not keep, if it is time."""
        if not self._kept_counts or random.random() >= self._probability:  # noqa: S311  not for security
            return
        for (family, _), cells in row.items():
            kept_count = self._kept_counts.get(family)
            if kept_count is not None:
                del cells[kept_count(cells) :]


def _compile_rule(rule: Any) -> _KeptCount:
    """Compile a `google.bigtable.admin.v2.GcRule`. An empty rule keeps all cells."""
    match rule.WhichOneof("rule"):
        case "max_num_versions":
            versions: int = rule.max_num_versions
            return lambda _cells: versions
        case "max_age":
            age_micros = rule.max_age.ToMicroseconds()
            return lambda cells: _count_since(cells, time.time_ns() // 1000 - age_micros)
        case "union":  # deletes the cells that any of its rules deletes
            united = [_compile_rule(each) for each in rule.union.rules]
            return lambda cells: min((kept_count(cells) for kept_count in united), default=len(cells))
        case "intersection":  # deletes the cells that all of its rules delete
            intersected = [_compile_rule(each) for each in rule.intersection.rules]
            return lambda cells: max((kept_count(cells) for kept_count in intersected), default=len(cells))
        case _:
            return len


def _count_since(cells: Sequence[Cell], timestamp: int) -> int:
    return bisect_right(cells, -timestamp, key=newest_first)
