"""Decides which SQL text runs here, statement by statement, and which goes to the emulator as it is."""

import re
from collections.abc import Sequence

from sqlglot.errors import SqlglotError

from local_bigquery.errors import invalid_query
from local_bigquery.sql.generator import is_misread
from local_bigquery.sql.rewrites import may_apply
from local_bigquery.sql.scripts import (
    Assert,
    Block,
    ExecuteImmediate,
    Loop,
    Raise,
    Sql,
    Step,
    Steps,
    every,
    pieces,
    read_script,
)
from local_bigquery.sql.statements import holds_ml, may_hold_ml, parse

# What the emulator's own scripts cannot do; their temporary tables outlive them.
_BEYOND_EMULATOR = re.compile(r"\b(ASSERT|RAISE|EXCEPTION|REPEAT|TEMP|TEMPORARY)\b", re.IGNORECASE)
_TEMPORARY_TABLE = re.compile(r"CREATE\s+(OR\s+REPLACE\s+)?TEMP(ORARY)?\s+TABLE\b", re.IGNORECASE)
_TRANSACTION = re.compile(r"(BEGIN|COMMIT|ROLLBACK)\b", re.IGNORECASE)
# The emulator keeps transactions, and sets the variables that a procedure returns, only within a script of its own.
_OF_ONE_SCRIPT = re.compile(r"(BEGIN|COMMIT|ROLLBACK|CALL)\b", re.IGNORECASE)


def own_steps(sql: str) -> Steps | None:
    """Return the statements of a text, or None if all of them can be left to the emulator.

    Raises:
        BigQueryError: `invalidQuery`, if they hold BigQuery ML and cannot be run.
    """
    if not (may_hold_ml(sql) or may_apply(sql) or _BEYOND_EMULATOR.search(sql)):
        return None
    try:
        steps = read_script(sql)
    except SqlglotError:
        return None  # not even tokens: the emulator says what is wrong
    all_steps = list(every(steps))
    plain = [step.text for step in all_steps if isinstance(step, Sql)]
    if _holds_ml(sql, steps):
        if any(_TRANSACTION.match(text) for text in plain):
            raise invalid_query("Transactions (BEGIN TRANSACTION) cannot be used with BigQuery ML locally")
        return steps
    to_rewrite = is_misread(sql) or any(may_apply(text) for text in pieces(steps))
    inseparable = any(_OF_ONE_SCRIPT.match(text) for text in plain)
    return steps if (to_rewrite or _is_beyond_emulator(all_steps)) and not inseparable else None


def _holds_ml(sql: str, steps: Steps) -> bool:
    """Whether a script holds BigQuery ML, or may do so in the text of an EXECUTE IMMEDIATE."""
    if not may_hold_ml(sql):
        return False
    is_dynamic = any(isinstance(step, ExecuteImmediate) for step in every(steps))
    return is_dynamic or any(holds_ml(parse(text)) for text in pieces(steps) if may_hold_ml(text))


def _is_beyond_emulator(steps: Sequence[Step]) -> bool:
    for step in steps:
        match step:
            case Assert() | Raise() | Loop(until=str()) | Block(handler=tuple()):
                return True
            case Sql(text) if len(steps) > 1 and _TEMPORARY_TABLE.match(text):
                return True
    return False
