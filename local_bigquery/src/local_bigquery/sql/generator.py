"""Writes a syntax tree as SQL that the emulator reads rightly; sqlglot's own text would lose something there."""

import re
from typing import ClassVar

from sqlglot import exp
from sqlglot.generators.bigquery import BigQueryGenerator

# The emulator refuses a text with one of these words, be it in a string or a comment.
_REFUSED = re.compile(r"(?<=ML)(?=\.(?:PREDICT|EVALUATE|FORECAST|GENERATE_TEXT|GENERATE_EMBEDDING))", re.IGNORECASE)
_LITERALS = {exp.DataType.Type.DECIMAL: "NUMERIC", exp.DataType.Type.BIGDECIMAL: "BIGNUMERIC"}


def to_sql(tree: exp.Expr) -> str:
    """Return the SQL for a syntax tree, without its comments."""
    return _Generator(dialect="bigquery", comments=False).generate(tree)


def is_misread(sql: str) -> bool:
    """Whether the emulator refuses a text because of its strings or comments."""
    return _REFUSED.search(sql) is not None


def _cast(generator: BigQueryGenerator, cast: exp.Cast) -> str:
    """Write `NUMERIC '1.5'` as a literal, and keep the precision of other casts: without it, digits are lost."""
    name = _LITERALS.get(cast.to.this)
    if name is not None and cast.this.is_string:
        return f"{name} {generator.sql(cast, 'this')}"
    return generator.cast_sql(cast)


def _literal(generator: BigQueryGenerator, literal: exp.Literal) -> str:
    """Take strings apart that the emulator would refuse."""
    parts = _REFUSED.split(literal.this) if literal.is_string else []
    if len(parts) < 2:  # noqa: PLR2004 -- two parts
        return generator.literal_sql(literal)
    return f"CONCAT({', '.join(generator.literal_sql(exp.Literal.string(part)) for part in parts)})"


class _Generator(BigQueryGenerator):
    TRANSFORMS: ClassVar = {**BigQueryGenerator.TRANSFORMS, exp.Cast: _cast, exp.Literal: _literal}
