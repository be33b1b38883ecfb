"""Decides which ML function of a statement can run next, and writes the SQL of its input.

A call can run when neither its input nor the common table expressions that the input refers to hold a call that has
not run yet. Once it has run, its node is replaced by the table that holds its result (`put_table`), and the next one is
looked for, until none is left.
"""

from sqlglot import exp

from local_bigquery.sql.statements import MLCall


def next_call(tree: exp.Expr) -> MLCall | None:
    """Return a call that can run now, or None if the tree holds none."""
    for call in tree.find_all(MLCall):
        source = source_query(call)
        if source is None or source.find(MLCall) is None:
            return call
    return None


def source_query(call: MLCall) -> exp.Query | None:
    """Return the input of a call as a query that stands alone, or None if the call has no input.

    The common table expressions that the input refers to are put in front, scope by scope, so that an inner
    name still hides an outer one.
    """
    source = call.args.get("source")
    return None if source is None else stand_alone(source.copy(), call)


def stand_alone(query: exp.Query, place: exp.Expr) -> exp.Query:
    """Return a query with those common table expressions in front that it would see if it stood at `place`."""
    for scope in _visible_ctes(place):
        needed = _needed(scope.expressions, query)
        if needed:
            query = exp.select("*").from_(query.subquery("ml_input"))
            scope.set("expressions", needed)
            query.set("with_", scope)
    return query


def put_table(call: MLCall, project: str, dataset: str, table: str) -> None:
    """Replace a call by the table that holds its result; an alias of the call stays."""
    place = call.parent
    if not isinstance(place, exp.Table):
        raise TypeError(f"an ML call stands in a {type(place).__name__}, not in a table reference")
    rename(place, project, dataset, table)


def rename(place: exp.Table, project: str, dataset: str, table: str) -> None:
    """Make a table reference refer to another table; its alias stays."""
    place.set("this", exp.to_identifier(table, quoted=True))
    place.set("db", exp.to_identifier(dataset, quoted=True))
    place.set("catalog", exp.to_identifier(project, quoted=True))


def _visible_ctes(node: exp.Expr) -> list[exp.With]:
    """Return a WITH clause for each scope around `node`, the innermost first, with what `node` may refer to."""
    scopes = []
    child: exp.Expr = node
    parent = node.parent
    while parent is not None:
        if isinstance(parent, exp.With):
            scopes.append(_with(parent, parent.expressions[: child.index]))
        elif (clause := parent.args.get("with_")) is not None and clause is not child:
            scopes.append(_with(clause, clause.expressions))
        child, parent = parent, parent.parent
    return scopes


def _with(clause: exp.With, ctes: list[exp.CTE]) -> exp.With:
    copies = [cte.copy() for cte in ctes]
    return exp.With(expressions=copies, recursive=clause.args.get("recursive"))


def _needed(ctes: list[exp.CTE], query: exp.Expr) -> list[exp.CTE]:
    """Return those of `ctes` that `query` refers to, directly or through others, in their order."""
    names = _table_names(query)
    needed = []
    for cte in reversed(ctes):
        if cte.alias.lower() in names:
            needed.append(cte)
            names |= _table_names(cte.this)
    return needed[::-1]


def _table_names(tree: exp.Expr) -> set[str]:
    return {table.name.lower() for table in tree.find_all(exp.Table) if not table.db}
