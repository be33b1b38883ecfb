"""The types of the expressions in a statement, as far as they can be known from its text and the schemas of tables."""

from collections.abc import Mapping

from sqlglot import exp
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify

Tables = Mapping[tuple[str, str, str], Mapping[str, str]]

_KEY = "place"
NAMES = {
    exp.DType.BIGINT: "INT64",
    exp.DType.INT: "INT64",
    exp.DType.DOUBLE: "FLOAT64",
    exp.DType.DECIMAL: "NUMERIC",
    exp.DType.BIGDECIMAL: "BIGNUMERIC",
    exp.DType.TEXT: "STRING",
    exp.DType.VARCHAR: "STRING",
    exp.DType.BINARY: "BYTES",
    exp.DType.VARBINARY: "BYTES",
    exp.DType.BOOLEAN: "BOOL",
    exp.DType.DATE: "DATE",
    exp.DType.DATETIME: "DATETIME",
    exp.DType.TIMESTAMP: "DATETIME",
    exp.DType.TIMESTAMPTZ: "TIMESTAMP",
    exp.DType.TIME: "TIME",
    exp.DType.INTERVAL: "INTERVAL",
    exp.DType.ARRAY: "ARRAY",
    exp.DType.LIST: "ARRAY",
    exp.DType.STRUCT: "STRUCT",
    exp.DType.JSON: "JSON",
}


class Kinds:
    """The types of the nodes of a syntax tree, also after nodes are replaced.

    Args:
        tree: the statement.
        tables: the columns of tables, as `{(project, dataset, table): {column: type}}`.
    """

    def __init__(self, tree: exp.Expr, tables: Tables) -> None:
        for place, node in enumerate(tree.walk()):
            node.meta[_KEY] = place
        self._kinds: dict[int, str] = {}
        copy = tree.copy()
        schema = _with_flat_names(copy, tables)
        try:
            copy = qualify(
                copy,
                schema=schema or None,
                dialect="bigquery",
                validate_qualify_columns=False,
                quote_identifiers=False,
                identify=False,
            )
            copy = annotate_types(copy, schema=schema or None, dialect="bigquery")
        except Exception:  # noqa: BLE001  the optimizer raises many; types stay unknown then
            return
        for node in copy.walk():
            kind = node.type.this if node.type is not None else None
            if _KEY in node.meta and kind in NAMES:
                self._kinds[node.meta[_KEY]] = NAMES[kind]

    def of(self, node: exp.Expr) -> str | None:
        """Return the name of a type, such as `INT64` or `ARRAY`; None if it is unknown."""
        while isinstance(node, exp.Paren):
            node = node.this
        if isinstance(node, exp.Literal):
            return "STRING" if node.is_string else "INT64" if node.is_int else "FLOAT64"
        return self._kinds.get(node.meta.get(_KEY, -1))

    def replace(self, node: exp.Expr, new: exp.Expr) -> None:
        """Replace a node by another one of the same type."""
        if _KEY in node.meta:
            new.meta[_KEY] = node.meta[_KEY]
        node.replace(new)


def columns_of(table: exp.Table, tables: Tables) -> Mapping[str, str] | None:
    """Return the columns of a table and their types; None if they are unknown."""
    found = [
        columns
        for (project, dataset, name), columns in tables.items()
        if (table.name, table.db) == (name, dataset) and table.catalog in ("", project)
    ]
    return found[0] if len(found) == 1 else None


def _with_flat_names(tree: exp.Expr, tables: Tables) -> dict[str, object]:
    """Give the tables of a statement names of one part, and return their columns by these names."""
    schema: dict[str, object] = {}
    for number, table in enumerate(list(tree.find_all(exp.Table))):
        columns = columns_of(table, tables)
        if columns is not None:
            name = f"_table_{number}"
            schema[name] = columns
            alias = table.alias or table.name
            table.set("this", exp.to_identifier(name))
            table.set("db", None)
            table.set("catalog", None)
            table.set("alias", exp.TableAlias(this=exp.to_identifier(alias)))
    return schema
