"""Rewrites SQL that BigQuery runs and the emulator does not into SQL with the same meaning that the emulator runs.

Each rewrite is one function that changes sqlglot's syntax tree in place. It sees one query or statement, in which
tables have replaced the BigQuery ML functions. A statement that needs no rewrite keeps its text.

- `syntax`: rewrites that need the syntax tree only.
- `structs`, `information_schema`: rewrites that need the types of expressions, or the list of models.
"""

import re

from sqlglot import exp

from local_bigquery.sql.rewrites.information_schema import models_view
from local_bigquery.sql.rewrites.resolver import Catalog
from local_bigquery.sql.rewrites.structs import select_as_struct, unnested_fields
from local_bigquery.sql.rewrites.syntax import insert_row, numeric_casts, struct_names

_SIGNS = re.compile(
    r"\b(UNNEST\s*\(|STRUCT\b|INSERT\s+ROW\b|MODELS\b|(NUMERIC|DECIMAL)\b)",
    re.IGNORECASE,
)


async def rewrite(tree: exp.Expr, catalog: Catalog) -> None:
    """Apply all rewrites to a statement, in place.

    Args:
        tree: the statement.
        catalog: answers questions about tables and models.

    Raises:
        BigQueryError: the statement is invalid in BigQuery, too.
    """
    insert_row(tree)
    numeric_casts(tree)
    struct_names(tree)
    await models_view(tree, catalog)
    await unnested_fields(tree, catalog)
    await select_as_struct(tree, catalog)


def may_need_rewrite(sql: str) -> bool:
    """Return False if certainly no rewrite applies to a text."""
    return _SIGNS.search(sql) is not None
