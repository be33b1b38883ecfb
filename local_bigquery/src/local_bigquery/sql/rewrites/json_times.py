"""Rewrite of TO_JSON and TO_JSON_STRING of times: `2026-11-23T01:02:03Z` instead of `2026-11-23 01:02:03+00`.

Times become strings of BigQuery's format before the value, struct or array that contains them becomes JSON. The type of
the argument tells the places of the times.
"""

import sqlglot
from sqlglot import exp

from local_bigquery.schema import Field, element, is_repeated
from local_bigquery.sql import DIALECT
from local_bigquery.sql.rewrites.resolver import Catalog, selects, sources, type_of

# The emulator's text of a time with a `T`, and with zeros that make the fraction of a second 3 or 6 digits long.
_ISO = r"""
REGEXP_REPLACE(REGEXP_REPLACE(REPLACE(REPLACE(CAST(t AS STRING), ' ', 'T'), '+00', ''),
  r'(\.\d{4}|\.\d)$', r'\100'), r'(\.\d{5}|\.\d{2})$', r'\10')
"""
_FORMATS = {
    "TIMESTAMP": sqlglot.parse_one(f"CONCAT({_ISO}, 'Z')", read=DIALECT),
    "DATETIME": sqlglot.parse_one(_ISO, read=DIALECT),
}
_ELEMENT = "_json_element"


async def json_times(tree: exp.Expr, catalog: Catalog) -> None:
    """Format times that become JSON."""
    calls = [call for select in selects(tree) for call in _calls(select)]
    for call in reversed(calls):  # inner calls first
        field = await type_of(call.this, catalog)
        if field is not None and _contains_times(field):
            rows = _row_names(call.find_ancestor(exp.Select))
            call.set("this", _formatted(call.this.copy(), field, rows))


def _calls(select: exp.Select) -> list[exp.JSONFormat]:
    """Return the calls in a query, but not those in its subqueries."""
    nodes = select.walk(prune=lambda node: isinstance(node, exp.Select) and node is not select)
    return [node for node in nodes if isinstance(node, exp.JSONFormat)]


def _row_names(select: exp.Select | None) -> set[str]:
    """Return the names, in lower case, that mean a row of a table in a query or an outer one."""
    names: set[str] = set()
    while select is not None:
        names |= {source.alias_or_name.lower() for source in sources(select) if not isinstance(source, exp.Unnest)}
        select = select.find_ancestor(exp.Select)
    return names


def _contains_times(field: Field) -> bool:
    return field["type"] in _FORMATS or any(_contains_times(inner) for inner in field.get("fields", []))


def _formatted(value: exp.Expr, field: Field, rows: set[str]) -> exp.Expr:
    """Return the same value with its times as strings.

    Args:
        value: the value.
        field: its type.
        rows: the names that mean rows, which are never NULL.
    """
    if not _contains_times(field):
        return value
    select = _only_query(value)
    if select is not None:
        # Times of a subquery are formatted inside it; outside, the subquery would run once for each field.
        is_struct = select.args.get("kind") == "STRUCT"
        fields = field["fields"] if is_struct else [element(field)]
        for item, inner in zip(select.expressions, fields, strict=True):
            formatted = _formatted(item.unalias().copy(), inner, rows | _row_names(select))
            item.replace(exp.alias_(formatted, inner["name"] if is_struct else "value", quoted=True))
        return value
    if is_repeated(field):
        formatted = _formatted(exp.column(_ELEMENT), element(field), rows)
        alias = exp.TableAlias(columns=[exp.to_identifier(_ELEMENT)])
        return exp.Array(expressions=[exp.select(formatted).from_(exp.Unnest(expressions=[value], alias=alias))])
    if field["type"] in _FORMATS:
        text = _FORMATS[field["type"]].copy()
        for column in text.find_all(exp.Column):
            column.replace(value)
        return text
    return _formatted_struct(value, field, rows)


def _only_query(value: exp.Expr) -> exp.Select | None:
    """Return the query of `(SELECT x ...)` or `ARRAY(SELECT x ...)`; None for any other value."""
    if isinstance(value, exp.Array) and len(value.expressions) == 1:
        query = value.expressions[0]
    else:
        query = value.unnest() if isinstance(value, exp.Subquery) else None
    if not isinstance(query, exp.Select) or query.is_star or query.args.get("distinct"):
        return None
    return query if query.args.get("kind") == "STRUCT" or len(query.expressions) == 1 else None


def _formatted_struct(value: exp.Expr, field: Field, rows: set[str]) -> exp.Expr:
    items = []
    for position, inner in enumerate(field["fields"]):
        name = exp.to_identifier(inner["name"], quoted=True)
        if isinstance(value, exp.Struct):
            item = value.expressions[position]
            part = (item.expression if isinstance(item, exp.PropertyEQ) else item.unalias()).copy()
        else:
            part = exp.Dot(this=value.copy() if isinstance(value, exp.Column) else exp.paren(value), expression=name)
        items.append(exp.PropertyEQ(this=name.copy(), expression=_formatted(part, inner, rows)))
    struct = exp.Struct(expressions=items)
    is_row = isinstance(value, exp.Column) and not value.table and value.name.lower() in rows
    if is_row or isinstance(value, exp.Struct):
        return struct
    return exp.If(this=exp.Is(this=exp.paren(value), expression=exp.null()), true=exp.null(), false=struct)
