"""A table: rows by key, and the column families they may use."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from local_stack.bigtable.embedded.cells import Cell, Row, cells_in_order
from local_stack.bigtable.embedded.garbage import Survivors, survivors

Change: TypeAlias = Callable[[Row], None]
"""A checked mutation: it cannot fail."""


class Table:
    """Rows in memory, sorted by key when somebody asks for a range of them."""

    def __init__(self, families: Mapping[str, Any]) -> None:
        self._rows: dict[bytes, Row] = {}
        self._sorted_keys: list[bytes] | None = []
        self.set_families(families)

    @property
    def families(self) -> Mapping[str, Any]:
        """The `google.bigtable.admin.v2.ColumnFamily` of each family, by name."""
        return self._families

    def set_families(self, families: Mapping[str, Any]) -> None:
        """Replaces the families; the cells of those that are no longer there are dropped."""
        self._families = dict(families)
        self._survivors: dict[str, Survivors] = {
            name: survivors(family.gc_rule) for name, family in families.items() if family.HasField("gc_rule")
        }
        for key in list(self._rows):
            self.change(key, [_keep_families(self._families)])

    def cells(self, key: bytes) -> list[Cell]:
        """Returns the cells of a row in reading order; empty if there is no such row."""
        row = self._rows.get(key)
        if row is None:
            return []
        self._collect_garbage(row)
        return cells_in_order(row)

    def change(self, key: bytes, changes: Iterable[Change]) -> None:
        """Applies all changes to a row, which need not exist before or after."""
        row = self._rows.get(key)
        is_new = row is None
        if row is None:
            row = {}
        for change in changes:
            change(row)
        self._collect_garbage(row)
        if row and is_new:
            self._rows[key] = row
            self._sorted_keys = None
        elif not row and not is_new:
            del self._rows[key]

    def existing(self, keys: Iterable[bytes]) -> set[bytes]:
        """Returns those of the keys that have a row."""
        return self._rows.keys() & set(keys)

    def keys_between(self, lower: bytes, upper: bytes | None) -> list[bytes]:
        """Returns the keys in `[lower, upper)` in order, `upper` None meaning the end of the table.

        A key may since have lost its row: `cells` tells.
        """
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self._rows)
        keys = self._sorted_keys
        end = len(keys) if upper is None else bisect_left(keys, upper)
        return keys[bisect_left(keys, lower) : end]

    def drop(self, prefix: bytes) -> None:
        """Drops the rows whose keys start with the prefix; the empty prefix means all."""
        self._rows = {key: row for key, row in self._rows.items() if not key.startswith(prefix)}
        self._sorted_keys = None

    def _collect_garbage(self, row: Row) -> None:
        if not self._survivors:
            return
        for column, cells in row.items():
            stay = self._survivors.get(column[0])
            if stay is not None:
                del cells[stay(cells) :]


def _keep_families(families: Mapping[str, Any]) -> Change:
    def change(row: Row) -> None:
        for column in [column for column in row if column[0] not in families]:
            del row[column]

    return change
