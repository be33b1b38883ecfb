"""SQL that BigQuery runs and the emulator does not, made into SQL that it does run, with the same meaning.

Each module has one rewrite, on sqlglot's syntax tree. They see one query or statement at a time, whose BigQuery ML
functions have been replaced by tables; what needs none of them keeps its text.
"""

import re

from sqlglot import exp

from local_bigquery.sql.rewrites.insert_row import insert_row
from local_bigquery.sql.rewrites.integer_division import integer_division
from local_bigquery.sql.rewrites.json_timestamps import json_timestamps
from local_bigquery.sql.rewrites.models_view import models_view
from local_bigquery.sql.rewrites.numeric_casts import numeric_casts
from local_bigquery.sql.rewrites.select_as_struct import select_as_struct
from local_bigquery.sql.rewrites.struct_names import struct_names
from local_bigquery.sql.rewrites.surroundings import Surroundings
from local_bigquery.sql.rewrites.unnested_fields import unnested_fields

__all__ = ["Surroundings", "may_apply", "rewrite"]


async def rewrite(tree: exp.Expr, surroundings: Surroundings) -> None:
    """Rewrite a statement in place.

    Args:
        tree: The statement.
        surroundings: What is to be known of tables and models.

    Raises:
        BigQueryError: If it cannot mean anything.
    """
    insert_row(tree)
    integer_division(tree)
    numeric_casts(tree)
    struct_names(tree)
    await models_view(tree, surroundings)
    await unnested_fields(tree, surroundings)
    await select_as_struct(tree, surroundings)
    await json_timestamps(tree, surroundings)


_SIGNS = re.compile(
    r"\b((MOD|DIV)\s*\(|UNNEST\s*\(|STRUCT\b|TO_JSON(_STRING)?\s*\(|INSERT\s+ROW\b|MODELS\b|(NUMERIC|DECIMAL)\b)",
    re.IGNORECASE,
)


def may_apply(sql: str) -> bool:
    """Whether a text may hold something to rewrite; without it, there is nothing."""
    return _SIGNS.search(sql) is not None
