"""Garbage collection rules of column families.

Every rule keeps the newest cells of a column and drops the rest, so it comes down to how many cells stay.
Production and cbtemulator collect some time later; here it happens whenever a row is touched.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from local_stack.bigtable.embedded.cells import Cell, newest_first

Survivors: TypeAlias = Callable[[Sequence[Cell]], int]
"""How many of a column's cells, newest first, a rule lets stay; may exceed their number."""


def survivors(rule: Any) -> Survivors:
    """Compiles a `google.bigtable.admin.v2.GcRule`; an empty one keeps everything."""
    match rule.WhichOneof("rule"):
        case "max_num_versions":
            versions: int = rule.max_num_versions
            return lambda _cells: versions
        case "max_age":
            age_micros = rule.max_age.ToMicroseconds()
            return lambda cells: _not_older(cells, time.time_ns() // 1000 - age_micros)
        case "union":  # a cell goes if any rule drops it
            united = [survivors(each) for each in rule.union.rules]
            return lambda cells: min((stay(cells) for stay in united), default=len(cells))
        case "intersection":  # a cell goes only if every rule drops it
            intersected = [survivors(each) for each in rule.intersection.rules]
            return lambda cells: max((stay(cells) for stay in intersected), default=len(cells))
        case _:
            return len


def _not_older(cells: Sequence[Cell], timestamp: int) -> int:
    return bisect_right(cells, -timestamp, key=newest_first)
