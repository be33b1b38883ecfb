"""Where an expression stands in a statement, and a query that gives its value there."""

from collections.abc import Iterator

from sqlglot import exp

from local_bigquery.sql.ml_calls import stand_alone

_SOURCES = ("with_", "from_", "joins", "laterals")


def selects(node: exp.Expr) -> Iterator[exp.Select]:
    """Return every SELECT, those that it takes rows from before it, and those in its expressions after it."""
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


def value_query(expression: exp.Expr) -> exp.Query | None:
    """Return a query without rows, whose column `value` has the type that an expression of a statement has.

    It stands alone: it brings the tables with it that are visible where the expression stands, up to the outermost
    query. None if the expression is in no query (such as UPDATE ... SET).
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
    return stand_alone(query.limit(0, copy=False), expression)


def sources(select: exp.Select) -> list[exp.Expr]:
    """Return what a query takes its rows from: the tables, subqueries and UNNESTs of its FROM clause."""
    clauses = [select.args.get("from_"), *(select.args.get("joins") or [])]
    return [clause.this for clause in clauses if clause is not None]


def source_query(table: exp.Expr) -> exp.Query:
    """Return a query without rows, with the columns of a table or subquery in a FROM clause."""
    return stand_alone(exp.select("*").from_(table.copy()).limit(0), table)


def _select(value: exp.Expr, select: exp.Select, place: exp.Expr) -> exp.Select:
    """Return `value` selected from those tables of `select` that `place` in it can see."""
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
    """Return the GROUP BY clause, with the expressions that it names by place or alias."""
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
    """Return the child of `select` that holds `place`."""
    while place.parent is not select:
        if place.parent is None:
            raise ValueError("the expression is not within the query")
        place = place.parent
    return place


def _is_derived_table(inner: exp.Select, outer: exp.Select) -> bool:
    """Whether `inner` gives `outer` rows rather than a value: then it does not see its other tables."""
    clause = _clause(inner, outer)
    if clause.arg_key == "with_":
        return True
    in_unnest = isinstance(inner.find_ancestor(exp.Unnest, exp.Select), exp.Unnest)
    return clause.arg_key in ("from_", "joins") and not in_unnest and not _is_in_condition(inner, outer)


def _is_in_condition(place: exp.Expr, select: exp.Select) -> bool:
    """Whether `place` is in the ON clause of a join of `select`."""
    join = _clause(place, select)
    condition = join.args.get("on")
    return condition is not None and any(node is place for node in condition.walk())
