"""SELECT AS STRUCT with a star: the emulator packs columns that are named, but not those of a star.

So a star gives way to the names of its columns. As a table, or as the whole statement, SELECT AS STRUCT shows the
fields as columns: there it is a plain SELECT.
"""

from sqlglot import exp

from local_bigquery.sql.rewrites.scopes import source_query, sources, value_query
from local_bigquery.sql.rewrites.surroundings import Surroundings


async def select_as_struct(tree: exp.Expr, surroundings: Surroundings) -> None:
    """Rewrite each SELECT AS STRUCT that has a star, or that stands for a table."""
    for select in list(tree.find_all(exp.Select)):
        if select.args.get("kind") != "STRUCT":
            continue
        if _is_table(select):
            select.set("kind", None)
        elif select.is_star:
            columns = [await _columns(item, select, surroundings) for item in select.expressions]
            select.set("expressions", [column for several in columns for column in several])


def _is_table(select: exp.Select) -> bool:
    """Whether the rows are used as rows: not in an expression subquery, nor ARRAY or EXISTS."""
    place = select.parent
    while isinstance(place, exp.SetOperation):
        place = place.parent
    if isinstance(place, exp.Subquery):
        return isinstance(place.parent, exp.From | exp.Join)
    return not isinstance(place, exp.Array | exp.Func)


async def _columns(item: exp.Expr, select: exp.Select, surroundings: Surroundings) -> list[exp.Expr]:
    """Return the columns that an item of the SELECT list stands for: itself, but for a star."""
    if not item.is_star:
        return [item]
    star = item if isinstance(item, exp.Star) else item.this
    tables = sources(select) if star is item else _table_named(item.args["table"].name, select)
    left_out = {column.name.lower() for column in star.args.get("except_") or []}
    replaced = {alias.alias.lower(): alias.this for alias in star.args.get("replace") or []}
    columns: list[exp.Expr] = []
    for table in tables:
        names = await _names(table, surroundings)
        if names is None:
            return [item]  # the emulator says what is wrong
        for name in names:
            if name.lower() in left_out:
                continue
            column = exp.column(name, _alias(table), quoted=True)
            columns.append(exp.alias_(replaced.get(name.lower(), column).copy(), name, quoted=True))
    return columns or [item]


def _table_named(name: str, select: exp.Select | None) -> list[exp.Expr]:
    """Return the table of that name that a query, or the nearest one around it, takes rows from."""
    while select is not None:
        for table in sources(select):
            if (_alias(table) or "").lower() == name.lower():
                return [table]
        select = select.find_ancestor(exp.Select)
    return []


def _alias(table: exp.Expr) -> str | None:
    """Return the name of a table in its query; for UNNEST, that of its elements."""
    if isinstance(table, exp.Unnest):
        alias = table.args.get("alias")
        return alias.columns[0].name if alias is not None and alias.columns else None
    return table.alias_or_name or None


async def _names(table: exp.Expr, surroundings: Surroundings) -> list[str] | None:
    """Return the columns of a table, or of the elements of an UNNEST; None if they cannot be known."""
    if isinstance(table, exp.Unnest):
        query = value_query(table.expressions[0])
        schema = await surroundings.schema(query) if query is not None else None
        return [field["name"] for field in schema[0].get("fields", [])] if schema else None
    schema = await surroundings.schema(source_query(table))
    return [column["name"] for column in schema] if schema else None
