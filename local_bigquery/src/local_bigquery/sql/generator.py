"""Generates SQL for the emulator, where sqlglot's own SQL would lose information or be refused."""

import re
from typing import ClassVar

from sqlglot import exp
from sqlglot.generators.bigquery import BigQueryGenerator

from local_bigquery.sql import DIALECT

# The emulator refuses any text with these function names, even in a string or a comment. This matches within a name.
_REFUSED = re.compile(r"(?<=ML)(?=\.(?:PREDICT|EVALUATE|FORECAST|GENERATE_TEXT|GENERATE_EMBEDDING))", re.IGNORECASE)
_LITERALS = {exp.DataType.Type.DECIMAL: "NUMERIC", exp.DataType.Type.BIGDECIMAL: "BIGNUMERIC"}


def to_sql(tree: exp.Expr) -> str:
    """Return the SQL of a syntax tree without its comments."""
    return _Generator(dialect=DIALECT, comments=False).generate(tree)


def is_refused_text(sql: str) -> bool:
    """Return True if the emulator refuses a text because a string or comment mentions a function of BigQuery ML."""
    return _REFUSED.search(sql) is not None


def _cast(generator: BigQueryGenerator, cast: exp.Cast) -> str:
    """Return `NUMERIC '1.5'` as a literal. As a CAST without a precision it would lose digits."""
    name = _LITERALS.get(cast.to.this)
    if name is not None and cast.this.is_string:
        return f"{name} {generator.sql(cast, 'this')}"
    return generator.cast_sql(cast)


def _literal(generator: BigQueryGenerator, literal: exp.Literal) -> str:
    """Return a string that the emulator would refuse as a CONCAT of parts."""
    parts = _REFUSED.split(literal.this) if literal.is_string else []
    if len(parts) < 2:  # noqa: PLR2004  two parts
        return generator.literal_sql(literal)
    return f"CONCAT({', '.join(generator.literal_sql(exp.Literal.string(part)) for part in parts)})"


class _Generator(BigQueryGenerator):
    TRANSFORMS: ClassVar = {**BigQueryGenerator.TRANSFORMS, exp.Cast: _cast, exp.Literal: _literal}
