"""Calls of macros, and the names of types."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlglot import exp

from local_bigquery.googlesql.kinds import Kinds

INT64 = "INT64"
FLOAT64 = "FLOAT64"
NUMERIC = "NUMERIC"

# Rewrites a node; None leaves it as it is.
Handler = Callable[[Any, Kinds], exp.Expr | None]

# Macros that evaluate their arguments once, in a lambda. The name with `_of` does not: it is faster for a column.
_EVALUATED_ONCE = frozenset(
    ("string", "literal", "shown", "numeric", "safe_numeric", "in_range", "json",
     "pow", "numeric_round_to", "numeric_trunc_to", "timestamp_text", "format_timestamp")
)  # fmt: skip


def call(name: str, *arguments: exp.Expr | str | float | bool) -> exp.Anonymous:
    """Return a call of a macro, with copies of the arguments; Python values become literals."""
    if name in _EVALUATED_ONCE and all(not isinstance(item, exp.Expr) or is_simple(item) for item in arguments):
        name += "_of"  # the macro without a lambda
    return exp.Anonymous(
        this=f"gsql_{name}",
        expressions=[item.copy() if isinstance(item, exp.Expr) else exp.convert(item) for item in arguments],
    )


def is_simple(node: exp.Expr) -> bool:
    """Return True if it costs nothing to evaluate a node twice."""
    return isinstance(node, exp.Column | exp.Literal | exp.Boolean)


def joined(operator: type[exp.Connector], conditions: Sequence[exp.Expr]) -> exp.Expr:
    """Return conditions joined by AND or OR, in parentheses."""
    result = conditions[0]
    for condition in conditions[1:]:
        result = operator(this=result, expression=condition)
    return exp.paren(result, copy=False)
