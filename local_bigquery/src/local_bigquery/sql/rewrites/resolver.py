"""Resolves the types of expressions and the columns of tables in a statement.

The emulator knows them: a query for the expression, with the tables that it sees, is run without rows.
"""

from collections.abc import Iterator
from typing import Protocol

from sqlglot import exp

from local_bigquery.backend.emulator import TableName
from local_bigquery.schema import Field, Schema
from local_bigquery.sql.ml_calls import self_contained

_SOURCES = ("with_", "from_", "joins", "laterals")


class Catalog(Protocol):
    """Answers questions about the tables and models that a statement refers to."""

    async def schema(self, query: exp.Query) -> Schema | None:
        """Return the columns of a query, or None if it cannot be run."""

    async def models_table(self, project: str | None, dataset: str) -> TableName:
        """Return a table with the models of a dataset, or of all datasets of a region.

        Args:
            project: the project; None for the project of the job.
            dataset: the name of the dataset, or a region such as `region-us`.

        Raises:
            BigQueryError: `notFound` if the dataset does not exist.
        """


async def type_of(expression: exp.Expr, catalog: Catalog) -> Field | None:
    """Return the type of an expression as a field of a table, or None if it cannot be found out."""
    query = _value_query(expression)
    schema = await catalog.schema(query) if query is not None else None
    return schema[0] if schema else None


async def columns_of(table: exp.Expr, catalog: Catalog) -> Schema | None:
    """Return the columns of a table or subquery of a FROM clause, or None if they cannot be found out."""
    query = self_contained(exp.select("*").from_(table.copy()).limit(0), table)
    return await catalog.schema(query) or None


def sources(select: exp.Select) -> list[exp.Expr]:
    """Return the tables, subqueries and UNNESTs of a query's FROM clause."""
    clauses = [select.args.get("from_"), *(select.args.get("joins") or [])]
    return [clause.this for clause in clauses if clause is not None]


def selects(node: exp.Expr) -> Iterator[exp.Select]:
    """Yield every SELECT, after the SELECTs of its FROM and WITH clauses, before those of its expressions."""
    if not isinstance(node, exp.Select):
        for child in node.iter_expressions():
            yield from selects(child)
        return
    sources = [child for child in node.iter_expressions() if child.arg_key in _SOURCES]
    others = [child for child in node.iter_expressions() if child.arg_key not in _SOURCES]
    for child in sources:
        yield from selects(child)
    yield node
    for child in others:
        yield from selects(child)


def _value_query(expression: exp.Expr) -> exp.Query | None:
    """Return a query without rows, whose only column has the type of an expression of a statement.

    The query is self-contained: it includes the tables that the expression sees, up to the outermost query. It is None
    if the expression is in no query, such as in UPDATE ... SET.
    """
    select = expression.find_ancestor(exp.Select)
    if select is None:
        return None
    query = _select(expression.copy(), select, expression)
    if _clause(expression, select).arg_key not in _SOURCES:
        query.set("group", _group(select))
    inner, outer = select, select.find_ancestor(exp.Select)
    while outer is not None:
        if not _is_derived_table(inner, outer):
            query = _select(query.subquery(copy=False), outer, inner)
        inner, outer = outer, outer.find_ancestor(exp.Select)
    return self_contained(query.limit(0, copy=False), expression)


def _select(value: exp.Expr, select: exp.Select, place: exp.Expr) -> exp.Select:
    """Return `SELECT value` from the tables of `select` that are visible at `place`, a node in it."""
    query = exp.select(exp.alias_(value, "value", copy=False), copy=False)
    clause = _clause(place, select)
    tables, joins = select.args.get("from_"), select.args.get("joins") or []
    if tables is None or clause.arg_key == "from_":
        return query
    if clause.arg_key == "joins":
        joins = joins[: joins.index(clause) + _is_in_condition(place, select)]
    query.set("from_", tables.copy())
    query.set("joins", [join.copy() for join in joins])
    query.set("windows", [window.copy() for window in select.args.get("windows") or []])
    return query


def _group(select: exp.Select) -> exp.Group | None:
    """Return the GROUP BY clause with expressions in place of positions and aliases."""
    group: exp.Group | None = select.args.get("group")
    if group is None:
        return None
    group = group.copy()
    by_alias = {item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)}
    for key in group.expressions:
        if key.is_int:
            key.replace(select.expressions[int(key.name) - 1].unalias().copy())
        elif isinstance(key, exp.Column) and not key.table and key.name.lower() in by_alias:
            key.replace(by_alias[key.name.lower()].copy())
    return group


def _clause(place: exp.Expr, select: exp.Select) -> exp.Expr:
    """Return the child of `select` that contains `place`."""
    while place.parent is not select:
        if place.parent is None:
            raise ValueError("the expression is not in the query")
        place = place.parent
    return place


def _is_derived_table(inner: exp.Select, outer: exp.Select) -> bool:
    """Return True if `inner` is a table of `outer`, not a value, so that it does not see the other tables."""
    clause = _clause(inner, outer)
    if clause.arg_key == "with_":
        return True
    in_unnest = isinstance(inner.find_ancestor(exp.Unnest, exp.Select), exp.Unnest)
    return clause.arg_key in ("from_", "joins") and not in_unnest and not _is_in_condition(inner, outer)


def _is_in_condition(place: exp.Expr, select: exp.Select) -> bool:
    """Return True if `place` is in the ON clause of a join of `select`."""
    join = _clause(place, select)
    condition = join.args.get("on")
    return condition is not None and any(node is place for node in condition.walk())
