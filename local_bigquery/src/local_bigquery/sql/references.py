"""Finds the tables that SQL reads."""

from sqlglot import exp
from sqlglot.errors import SqlglotError

from local_bigquery.errors import BigQueryError
from local_bigquery.sql import DIALECT
from local_bigquery.sql.scripts import parse_script, sql_texts
from local_bigquery.sql.statements import CreateModel, DropModel, MLCall, parse


def referenced_tables(sql: str, project: str, dataset: str | None) -> list[dict[str, str]]:
    """Return the TableReference of every table that a text reads, in the order of their first occurrence.

    The list is empty if the text cannot be parsed.

    Args:
        sql: the statements.
        project: the project of names without one.
        dataset: the dataset of names without one; None if there is no default dataset.
    """
    found: dict[tuple[str, str, str], None] = {}
    for tree in _trees(sql):
        ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        # In `FROM t, t.items`, `t.items` is a column of `t`.
        aliases = {table.alias_or_name.lower() for table in tree.find_all(exp.Table)}
        for table in tree.find_all(exp.Table):
            if not isinstance(table.this, exp.Identifier) or isinstance(table.parent, MLCall) or _is_target(table):
                continue
            if not table.db and (table.name.lower() in ctes or dataset is None):
                continue
            if not table.catalog and table.db.lower() in aliases:
                continue
            if "INFORMATION_SCHEMA" in table.sql(DIALECT).upper():
                continue
            found[table.catalog or project, table.db or str(dataset), table.name] = None
    return [{"projectId": p, "datasetId": d, "tableId": t} for p, d, t in found]


def _trees(sql: str) -> list[exp.Expr]:
    try:
        statements = [parse(text) for text in sql_texts(parse_script(sql))]
    except (BigQueryError, SqlglotError):
        return []
    trees = [
        statement.query if isinstance(statement, CreateModel) else statement.tree
        for statement in statements
        if not isinstance(statement, DropModel)
    ]
    return [tree for tree in trees if tree is not None]


def _is_target(table: exp.Table) -> bool:
    """Return True if a statement such as CREATE or INSERT makes, changes or removes this table."""
    parent: exp.Expr | None = table.parent
    if isinstance(parent, exp.Schema):
        parent = parent.parent
    return isinstance(parent, exp.Create | exp.Insert | exp.Drop | exp.Alter | exp.TruncateTable)
