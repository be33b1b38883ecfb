"""Decides whether the gateway or the emulator runs a text of SQL.

The gateway runs a text step by step if it contains BigQuery ML, SQL to rewrite, several statements, or statements that
the emulator does not support. The emulator runs any other text as it came.
"""

import re
from collections.abc import Sequence

from sqlglot.errors import SqlglotError

from local_bigquery.errors import BigQueryError, invalid_query
from local_bigquery.sql.generator import is_refused_text
from local_bigquery.sql.rewrites import may_need_rewrite
from local_bigquery.sql.scripts import (
    Assert,
    Block,
    Declare,
    ExecuteImmediate,
    Loop,
    Raise,
    Sql,
    Step,
    Steps,
    parse_script,
    sql_texts,
    walk,
)
from local_bigquery.sql.statements import contains_ml, may_contain_ml, parse

# Words of the procedural language that the emulator does not support. Its temporary tables outlive their script. Its
# variables of type JSON are strings. The gateway analyses the SQL of EXECUTE IMMEDIATE.
_MAY_BE_UNSUPPORTED = re.compile(r"\b(ASSERT|RAISE|EXCEPTION|REPEAT|TEMP|TEMPORARY|DECLARE|IMMEDIATE)\b", re.IGNORECASE)
_TEMPORARY_TABLE = re.compile(r"CREATE\s+(OR\s+REPLACE\s+)?TEMP(ORARY)?\s+TABLE\b", re.IGNORECASE)
_TRANSACTION = re.compile(r"(BEGIN|COMMIT|ROLLBACK)\b", re.IGNORECASE)
# The emulator supports transactions, and variables that a procedure sets, only within one script.
_INSEPARABLE = re.compile(r"(BEGIN|COMMIT|ROLLBACK|CALL)\b", re.IGNORECASE)


def gateway_steps(sql: str) -> Steps | None:
    """Return the steps of a text that the gateway must run, or None if the emulator can run it.

    Raises:
        BigQueryError: `invalidQuery` if the text contains BigQuery ML and cannot be run.
    """
    is_suspect = may_contain_ml(sql) or may_need_rewrite(sql) or _MAY_BE_UNSUPPORTED.search(sql)
    if not (is_suspect or ";" in sql):
        return None
    try:
        steps = parse_script(sql)
    except SqlglotError:
        return None  # the emulator reports the error
    except BigQueryError:
        if is_suspect:
            raise
        return None  # the emulator supports more of the procedural language
    all_steps = list(walk(steps))
    plain = [step.text for step in all_steps if isinstance(step, Sql)]
    if _contains_ml(sql, steps):
        if any(_TRANSACTION.match(text) for text in plain):
            raise invalid_query("Transactions (BEGIN TRANSACTION) cannot be used with BigQuery ML locally")
        return steps
    to_rewrite = is_refused_text(sql) or any(may_need_rewrite(text) for text in sql_texts(steps))
    inseparable = any(_INSEPARABLE.match(text) for text in plain)
    return steps if (to_rewrite or len(all_steps) > 1 or _is_unsupported(all_steps)) and not inseparable else None


def _contains_ml(sql: str, steps: Steps) -> bool:
    """Return True if a script contains BigQuery ML, or may do so in an EXECUTE IMMEDIATE."""
    if not may_contain_ml(sql):
        return False
    is_dynamic = any(isinstance(step, ExecuteImmediate) for step in walk(steps))
    return is_dynamic or any(contains_ml(parse(text)) for text in sql_texts(steps) if may_contain_ml(text))


def _is_unsupported(steps: Sequence[Step]) -> bool:
    """Return True if the emulator does not support one of the steps of a script."""
    for step in steps:
        match step:
            case Assert() | Raise() | Loop(until=str()) | Block(handler=tuple()) | ExecuteImmediate():
                return True
            case Declare(_, kind, default) if "JSON" in f"{kind} {default}".upper():
                return True
            case Sql(text) if len(steps) > 1 and _TEMPORARY_TABLE.match(text):
                return True
    return False
