"""Cells and rows as they are kept in memory."""

import time
from bisect import bisect_left
from typing import NamedTuple, TypeAlias


class Cell(NamedTuple):
    """One version of one column of a row; `timestamp` in microseconds since the epoch."""

    family: str
    qualifier: bytes
    timestamp: int
    value: bytes


Column: TypeAlias = tuple[str, bytes]
"""Family and qualifier."""

Row: TypeAlias = dict[Column, list[Cell]]
"""The cells of each column, newest first, no timestamp twice."""


def newest_first(cell: Cell) -> int:
    """Returns the sort key of the cells of one column."""
    return -cell.timestamp


def put_cell(row: Row, cell: Cell) -> None:
    """Adds a cell, in place of one with the same column and timestamp."""
    cells = row.setdefault((cell.family, cell.qualifier), [])
    index = bisect_left(cells, -cell.timestamp, key=newest_first)
    if index < len(cells) and cells[index].timestamp == cell.timestamp:
        cells[index] = cell
    else:
        cells.insert(index, cell)


def cells_in_order(row: Row) -> list[Cell]:
    """Returns all cells by family, then qualifier, then newest first: the order in which they are read."""
    return [cell for column in sorted(row) for cell in row[column]]


def server_timestamp() -> int:
    """Returns the current time in microseconds, cut to the whole milliseconds that Bigtable keeps."""
    return time.time_ns() // 1_000_000 * 1000
