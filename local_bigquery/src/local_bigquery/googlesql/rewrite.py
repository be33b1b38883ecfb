"""Replaces functions and operators of GoogleSQL by the macros of `macros.sql`.

A handler rewrites one kind of node, after its children. Types come from the query itself and from the schemas of the
tables; where a type stays unknown, the macros find it out.
"""

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from local_bigquery.googlesql import conversions, numbers, texts, times
from local_bigquery.googlesql.conversions import json_literals
from local_bigquery.googlesql.kinds import Kinds, Tables
from local_bigquery.googlesql.tables import (
    empty_arrays,
    found_elements,
    full_numerics,
    named_values,
    offsets,
    stored_arrays,
    typed_columns,
)
from local_bigquery.sql.generator import to_sql

_DIALECT = "bigquery"
_HANDLERS = numbers.HANDLERS | conversions.HANDLERS | texts.HANDLERS | times.HANDLERS


def rewrite(sql: str, tables: Tables | None = None) -> str:
    """Return a statement with macros in place of the functions that the emulator misreads.

    Args:
        sql: one statement.
        tables: the columns of the tables in it and their types; None if the text is the body of a function.
    """
    try:
        trees = sqlglot.parse(sql, read=_DIALECT)
    except SqlglotError:
        return sql  # the emulator reports the error
    if len(trees) != 1 or trees[0] is None or isinstance(trees[0], exp.Command):
        return sql
    tree = trees[0]
    json_literals(tree)
    named_values(tree)
    full_numerics(tree)
    typed_columns(tree)
    if tables is not None:
        _name_columns(tree)
    found_elements(tree)
    offsets(tree)
    empty_arrays(tree, tables or {})
    stored_arrays(tree, tables or {})
    nodes = list(tree.walk())
    kinds = Kinds(tree, tables or {})
    for node in reversed(nodes):  # children before parents
        handler = _HANDLERS.get(type(node))
        new = handler(node, kinds) if handler is not None else None
        if new is not None:
            kinds.replace(node, new)
    _keep_names_of_fields(tree)
    return to_sql(tree)


def _keep_names_of_fields(tree: exp.Expr) -> None:
    """Wrap macros that are fields of a STRUCT.

    DuckDB forgets the name of a field that is a macro of a column of an outer query.
    """
    fields = [item for struct in tree.find_all(exp.Struct) for item in struct.expressions]
    fields += [item for select in tree.find_all(exp.Select) if select.args.get("kind") for item in select.expressions]
    for field in fields:
        value = field.expression if isinstance(field, exp.PropertyEQ) else field.this
        if isinstance(value, exp.Anonymous) and value.name.startswith("gsql_"):
            value.replace(exp.Coalesce(this=value.copy(), expressions=[]))


def _name_columns(tree: exp.Expr) -> None:
    """Name the columns without AS as BigQuery does: `f0_`, `f1_`."""
    for select in tree.find_all(exp.Select):
        if select.args.get("kind"):
            continue
        number = 0
        for item in select.expressions:
            is_unnamed = not isinstance(item, exp.Alias | exp.Column | exp.Star | exp.Aliases | exp.Identifier)
            if is_unnamed and not (isinstance(item, exp.Dot) and isinstance(item.expression, exp.Identifier)):
                item.replace(exp.alias_(item.copy(), f"f{number}_"))
                number += 1
