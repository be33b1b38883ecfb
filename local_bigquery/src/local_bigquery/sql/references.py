"""Which tables SQL text reads."""

from sqlglot import exp
from sqlglot.errors import SqlglotError

from local_bigquery.errors import BigQueryError
from local_bigquery.sql.scripts import pieces, read_script
from local_bigquery.sql.statements import DIALECT, CreateModel, DropModel, MLCall, parse

_HIDDEN_SCHEMA = "INFORMATION_SCHEMA"


def referenced_tables(sql: str, project: str, dataset: str | None) -> list[dict[str, str]]:
    """Return the TableReference of every table that `sql` reads, each once, in order; nothing, if it cannot be parsed.

    Args:
        sql: The statements.
        project: The project for names that name none.
        dataset: The dataset for names that name none; None if there is no default dataset.
    """
    found: dict[tuple[str, str, str], None] = {}
    for tree in _trees(sql):
        ctes = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
        # In FROM t, t.items the second is a column of the first.
        aliases = {table.alias_or_name.lower() for table in tree.find_all(exp.Table)}
        for table in tree.find_all(exp.Table):
            if not isinstance(table.this, exp.Identifier) or isinstance(table.parent, MLCall) or _is_written(table):
                continue
            if not table.db and (table.name.lower() in ctes or dataset is None):
                continue
            if not table.catalog and table.db.lower() in aliases:
                continue
            if _HIDDEN_SCHEMA in table.sql(DIALECT).upper():
                continue
            found[table.catalog or project, table.db or str(dataset), table.name] = None
    return [{"projectId": p, "datasetId": d, "tableId": t} for p, d, t in found]


def _trees(sql: str) -> list[exp.Expr]:
    try:
        statements = [parse(text) for text in pieces(read_script(sql))]
    except (BigQueryError, SqlglotError):
        return []
    trees = [
        statement.query if isinstance(statement, CreateModel) else statement.tree
        for statement in statements
        if not isinstance(statement, DropModel)
    ]
    return [tree for tree in trees if tree is not None]


def _is_written(table: exp.Table) -> bool:
    """Whether a table is what a CREATE, INSERT, ... makes, fills or removes."""
    place: exp.Expr | None = table.parent
    if isinstance(place, exp.Schema):
        place = place.parent
    return isinstance(place, exp.Create | exp.Insert | exp.Drop | exp.Alter | exp.TruncateTable)
