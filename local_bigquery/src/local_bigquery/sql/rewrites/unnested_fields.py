"""Fields of an unnested array of structs, named without the alias of the UNNEST.

BigQuery lets `prob` in `(SELECT prob FROM UNNEST(predicted_x_probs) WHERE label = 1)` mean the field; the emulator
wants `p.prob` and `UNNEST(...) AS p`. Which names are fields is seen from the array's type.
"""

from collections.abc import Iterator
from itertools import count

import sqlglot
from sqlglot import exp

from local_bigquery.errors import invalid_query
from local_bigquery.sql.rewrites.scopes import selects, source_query, sources, value_query
from local_bigquery.sql.rewrites.surroundings import Surroundings

_ALIAS = "_unnested_{}"


async def unnested_fields(tree: exp.Expr, surroundings: Surroundings) -> None:
    """Write fields with the alias of their UNNEST.

    Raises:
        BigQueryError: `invalidQuery`, if a field is also a column of another table of the same FROM clause.
    """
    aliases = (_ALIAS.format(number) for number in count())
    for select in list(selects(tree)):
        for unnest in _unnests(select):
            names = _names(unnest, select)
            if not names or isinstance(unnest.expressions[0], exp.Array):
                continue  # the emulator itself takes literal arrays apart
            fields = await _fields(unnest.expressions[0], surroundings)
            found = [name for name in names if _first(name).name.lower() in fields or isinstance(name, exp.Star)]
            if not fields or not found:
                continue
            await _check_unambiguous(found, select, surroundings)
            alias = _element(unnest) or next(aliases)
            if _element(unnest) is None:
                unnest.set("alias", exp.TableAlias(columns=[exp.to_identifier(alias)]))
            for name in found:
                _qualify(name, alias)


def _unnests(select: exp.Select) -> list[exp.Unnest]:
    return [source for source in sources(select) if isinstance(source, exp.Unnest)]


def _names(unnest: exp.Unnest, select: exp.Select) -> list[exp.Column | exp.Star]:
    """Return the names in a query that may be fields of an UNNEST in its FROM clause."""
    own = {name.lower() for name in (_element(unnest), _offset(unnest)) if name}
    tables = {table.alias_or_name.lower() for table in sources(select)} - {""}
    results = {item.alias.lower() for item in select.expressions if isinstance(item, exp.Alias)}
    before = {id(node) for node in unnest.walk()}
    names: list[exp.Column | exp.Star] = []
    for column in _columns(select):
        first = _first(column).name.lower()
        in_clause = column.find_ancestor(exp.Order, exp.Group, exp.Having, exp.Select) is not select
        is_result = first in results and in_clause
        is_table = column.table and first in tables
        if id(column) not in before and first not in own and not is_result and not is_table:
            names.append(column)
    if len(sources(select)) == 1:
        names += [item for item in select.expressions if isinstance(item, exp.Star)]
    return names


def _columns(select: exp.Select) -> Iterator[exp.Column]:
    """Return the columns named in a query itself; those of subqueries belong to their own tables first."""
    for node in select.walk(prune=lambda node: isinstance(node, exp.Select) and node is not select):
        if isinstance(node, exp.Column) and not isinstance(node.this, exp.Star):
            yield node


def _element(unnest: exp.Unnest) -> str | None:
    """Return the alias of the elements."""
    alias = unnest.args.get("alias")
    columns = alias.columns if alias is not None else []
    return columns[0].name if columns else None


def _offset(unnest: exp.Unnest) -> str | None:
    offset = unnest.args.get("offset")
    return offset.name if isinstance(offset, exp.Identifier) else "offset" if offset else None


def _first(name: exp.Column | exp.Star) -> exp.Expr:
    """Return the first part of `a.b.c`."""
    return name.parts[0] if isinstance(name, exp.Column) else name


async def _fields(array: exp.Expr, surroundings: Surroundings) -> set[str]:
    """Return the fields of an array's elements in lower case; none if they are no structs."""
    query = value_query(array)
    schema = await surroundings.schema(query) if query is not None else None
    return {field["name"].lower() for field in schema[0].get("fields", [])} if schema else set()


async def _check_unambiguous(
    names: list[exp.Column | exp.Star], select: exp.Select, surroundings: Surroundings
) -> None:
    others: set[str] = set()
    for source in sources(select):
        if not isinstance(source, exp.Unnest):
            others |= {column["name"].lower() for column in await surroundings.schema(source_query(source)) or []}
    for name in names:
        if _first(name).name.lower() in others:
            raise invalid_query(f"Column name {_first(name).name} is ambiguous")


def _qualify(name: exp.Column | exp.Star, alias: str) -> None:
    if isinstance(name, exp.Star):
        star = name.copy()
        name.replace(exp.Column(this=star, table=exp.to_identifier(alias)))
        return
    # As text: a column has at most four parts, and what is more are fields.
    path = ".".join(part.sql("bigquery") for part in name.parts)
    name.replace(sqlglot.parse_one(f"{alias}.{path}", read="bigquery"))
