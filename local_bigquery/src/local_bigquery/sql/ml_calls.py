"""Chooses the next ML function of a statement to run, and derives the SQL of its input.

A function can run as soon as neither its input nor the common table expressions that the input refers to contain
another function. `replace_call` then replaces it by the table with its result. This repeats until no function is left.
"""

from sqlglot import exp

from local_bigquery.sql.statements import MLCall


def next_call(tree: exp.Expr) -> MLCall | None:
    """Return a call that can run now, or None if the tree contains no call."""
    for call in tree.find_all(MLCall):
        source = source_query(call)
        if source is None or source.find(MLCall) is None:
            return call
    return None


def source_query(call: MLCall) -> exp.Query | None:
    """Return the input of a call as a self-contained query, or None if the call has no input."""
    source = call.args.get("source")
    return None if source is None else self_contained(source.copy(), call)


def self_contained(query: exp.Query, place: exp.Expr) -> exp.Query:
    """Return a query with the common table expressions that it refers to.

    They are added scope by scope, so that an inner name still hides an outer one.

    Args:
        query: the query.
        place: the node of the statement whose scopes the query sees.
    """
    for scope in _visible_ctes(place):
        needed = _referenced(scope.expressions, query)
        if needed:
            query = exp.select("*").from_(query.subquery("ml_input"))
            scope.set("expressions", needed)
            query.set("with_", scope)
    return query


def replace_call(call: MLCall, project: str, dataset: str, table: str) -> None:
    """Replace a call by the table with its result; the alias of the call stays."""
    place = call.parent
    if not isinstance(place, exp.Table):
        raise TypeError(f"the parent of an ML call is a {type(place).__name__}, not a table reference")
    rename(place, project, dataset, table)


def rename(reference: exp.Table, project: str, dataset: str, table: str) -> None:
    """Make a table reference refer to another table; its alias stays."""
    reference.set("this", exp.to_identifier(table, quoted=True))
    reference.set("db", exp.to_identifier(dataset, quoted=True))
    reference.set("catalog", exp.to_identifier(project, quoted=True))


def _visible_ctes(node: exp.Expr) -> list[exp.With]:
    """Return a WITH clause for each scope around a node, the innermost first, with the CTEs visible to the node."""
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


def _referenced(ctes: list[exp.CTE], query: exp.Expr) -> list[exp.CTE]:
    """Return the CTEs that a query refers to, directly or through others, in their order."""
    names = _table_names(query)
    needed = []
    for cte in reversed(ctes):
        if cte.alias.lower() in names:
            needed.append(cte)
            names |= _table_names(cte.this)
    return needed[::-1]


def _table_names(tree: exp.Expr) -> set[str]:
    return {table.name.lower() for table in tree.find_all(exp.Table) if not table.db}
