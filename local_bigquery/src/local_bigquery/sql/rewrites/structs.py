"""Rewrites of structs that need the types of expressions: fields of UNNEST, and SELECT AS STRUCT."""

from collections.abc import Iterator
from itertools import count

import sqlglot
from sqlglot import exp

from local_bigquery.errors import invalid_query
from local_bigquery.sql import DIALECT
from local_bigquery.sql.rewrites.resolver import Catalog, columns_of, selects, sources, type_of

_ALIAS = "_unnested_{}"


async def unnested_fields(tree: exp.Expr, catalog: Catalog) -> None:
    """Qualify the fields of an unnested array of structs with the alias of its UNNEST.

    BigQuery resolves `prob` in `(SELECT prob FROM UNNEST(predicted_x_probs) WHERE label = 1)` to the field. The
    emulator requires `p.prob` and `UNNEST(...) AS p`. The type of the array tells which names are fields.

    Raises:
        BigQueryError: `invalidQuery` if a field is also a column of another table of the same FROM clause.
    """
    new_aliases = (_ALIAS.format(number) for number in count())
    for select in list(selects(tree)):
        for unnest in (source for source in sources(select) if isinstance(source, exp.Unnest)):
            names = _unqualified_names(unnest, select)
            if not names or isinstance(unnest.expressions[0], exp.Array):
                continue  # the emulator resolves the fields of literal arrays
            fields = {name.lower() for name in await _field_names(unnest, catalog) or ()}
            found = [name for name in names if _first(name).name.lower() in fields or isinstance(name, exp.Star)]
            if not fields or not found:
                continue
            await _check_unambiguous(found, select, catalog)
            alias = _element_alias(unnest) or next(new_aliases)
            if _element_alias(unnest) is None:
                unnest.set("alias", exp.TableAlias(columns=[exp.to_identifier(alias)]))
            for name in found:
                _qualify(name, alias)


async def select_as_struct(tree: exp.Expr, catalog: Catalog) -> None:
    """Replace the star of a SELECT AS STRUCT by its columns, and drop AS STRUCT where fields are shown as columns.

    The emulator packs named columns into the struct, but not those of a star. In a FROM clause, and as the whole
    statement, SELECT AS STRUCT shows its fields as columns, so there it becomes a plain SELECT.
    """
    for select in list(tree.find_all(exp.Select)):
        if select.args.get("kind") != "STRUCT":
            continue
        if _is_table(select):
            select.set("kind", None)
        elif select.is_star:
            columns = [await _expanded(item, select, catalog) for item in select.expressions]
            select.set("expressions", [column for several in columns for column in several])


def _unqualified_names(unnest: exp.Unnest, select: exp.Select) -> list[exp.Column | exp.Star]:
    """Return the names in a query that may be fields of an UNNEST in its FROM clause."""
    own = {name.lower() for name in (_element_alias(unnest), _offset_alias(unnest)) if name}
    tables = {table.alias_or_name.lower() for table in sources(select)} - {""}
    results = {item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias)}
    in_unnest = {id(node) for node in unnest.walk()}
    names: list[exp.Column | exp.Star] = []
    for column in _columns(select):
        first = _first(column).name.lower()
        in_clause = column.find_ancestor(exp.Order, exp.Group, exp.Having, exp.Select) is not select
        is_result = first in results and in_clause
        is_table = column.table and first in tables
        if id(column) not in in_unnest and first not in own and not is_result and not is_table:
            names.append(column)
    if len(sources(select)) == 1:
        names += [item for item in select.expressions if isinstance(item, exp.Star)]
    return names


def _columns(select: exp.Select) -> Iterator[exp.Column]:
    """Yield the columns named in a query, but not those in its subqueries."""
    for node in select.walk(prune=lambda node: isinstance(node, exp.Select) and node is not select):
        if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
            yield node


def _element_alias(unnest: exp.Unnest) -> str | None:
    """Return the alias of the elements of an UNNEST."""
    alias = unnest.args.get("alias")
    columns = alias.columns if alias is not None else []
    return columns[0].name if columns else None


def _offset_alias(unnest: exp.Unnest) -> str | None:
    offset = unnest.args.get("offset")
    return offset.name if isinstance(offset, exp.Identifier) else "offset" if offset else None


def _first(name: exp.Column | exp.Star) -> exp.Expr:
    """Return the first part of `a.b.c`."""
    return name.parts[0] if isinstance(name, exp.Column) else name


async def _field_names(unnest: exp.Unnest, catalog: Catalog) -> list[str] | None:
    """Return the field names of the elements of an UNNEST, none if they are no structs; None if they are unknown."""
    array = await type_of(unnest.expressions[0], catalog)
    return None if array is None else [field["name"] for field in array.get("fields", [])]


async def _check_unambiguous(names: list[exp.Column | exp.Star], select: exp.Select, catalog: Catalog) -> None:
    others: set[str] = set()
    for source in sources(select):
        if not isinstance(source, exp.Unnest):
            others |= {column["name"].lower() for column in await columns_of(source, catalog) or []}
    for name in names:
        if _first(name).name.lower() in others:
            raise invalid_query(f"Column name {_first(name).name} is ambiguous")


def _qualify(name: exp.Column | exp.Star, alias: str) -> None:
    if isinstance(name, exp.Star):
        star = name.copy()
        name.replace(exp.Column(this=star, table=exp.to_identifier(alias)))
        return
    # This is parsed from text, because a column has at most four parts and further parts are fields.
    path = ".".join(part.sql(DIALECT) for part in name.parts)
    name.replace(sqlglot.parse_one(f"{alias}.{path}", read=DIALECT))


def _is_table(select: exp.Select) -> bool:
    """Return True if the rows of a query are rows of a table or statement, not values of an expression."""
    parent = select.parent
    while isinstance(parent, exp.SetOperation):
        parent = parent.parent
    if isinstance(parent, exp.Subquery):
        return isinstance(parent.parent, exp.From | exp.Join)
    return not isinstance(parent, exp.Array | exp.Func)


async def _expanded(item: exp.Expr, select: exp.Select, catalog: Catalog) -> list[exp.Expr]:
    """Return the columns of an item of the SELECT list: those of a star, or the item itself."""
    if not item.is_star:
        return [item]
    star = item if isinstance(item, exp.Star) else item.this
    tables = sources(select) if star is item else _tables_named(item.args["table"].name, select)
    excluded = {column.name.lower() for column in star.args.get("except_") or []}
    replaced = {alias.alias.lower(): alias.this for alias in star.args.get("replace") or []}
    columns: list[exp.Expr] = []
    for table in tables:
        names = await _column_names(table, catalog)
        if names is None:
            return [item]  # the emulator reports the error
        for name in names:
            if name.lower() in excluded:
                continue
            column = exp.column(name, _alias(table), quoted=True)
            columns.append(exp.alias_(replaced.get(name.lower(), column).copy(), name, quoted=True))
    return columns or [item]


def _tables_named(name: str, select: exp.Select | None) -> list[exp.Expr]:
    """Return the table of that name in the FROM clause of a query or the nearest outer one; none if there is none."""
    while select is not None:
        for table in sources(select):
            if (_alias(table) or "").lower() == name.lower():
                return [table]
        select = select.find_ancestor(exp.Select)
    return []


def _alias(table: exp.Expr) -> str | None:
    """Return the name of a table in its query; for UNNEST, that of its elements."""
    return _element_alias(table) if isinstance(table, exp.Unnest) else table.alias_or_name or None


async def _column_names(table: exp.Expr, catalog: Catalog) -> list[str] | None:
    """Return the columns of a table or of the elements of an UNNEST; None if they cannot be found out."""
    if isinstance(table, exp.Unnest):
        return await _field_names(table, catalog)
    columns = await columns_of(table, catalog)
    return None if columns is None else [column["name"] for column in columns]
