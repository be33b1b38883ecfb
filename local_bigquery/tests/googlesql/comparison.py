"""Compares the local BigQuery with the recorded answers of GoogleSQL."""

import gzip
import json
import math
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import requests

ANSWERS = Path(__file__).with_name("answers.json.gz")
DIFFERENCES = Path(__file__).with_name("differences.json")
_BATCH = 40  # expressions of one query
_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL", "RECORD": "STRUCT"}
_TOLERANCE = 1e-13  # relative error of FLOAT64; GoogleSQL promises no last digit of functions such as SIN


class Answer(NamedTuple):
    """The answer of GoogleSQL to an expression: a type and a value, or `error` and a message."""

    name: str
    sql: str
    type: str
    value: Any


class Difference(NamedTuple):
    """An expression with another answer here."""

    answer: Answer
    here: str


def recorded() -> list[Answer]:
    """Return all recorded answers."""
    return [Answer(*entry) for entry in json.loads(gzip.decompress(ANSWERS.read_bytes()))]


def differences(rest: str, answers: list[Answer]) -> list[Difference]:
    """Return the expressions whose answer differs.

    Args:
        rest: the URL of the REST API.
        answers: the answers to compare with.
    """
    session = requests.Session()
    values = [answer for answer in answers if answer.type != "error"]
    found = [
        difference
        for start in range(0, len(values), _BATCH)
        for difference in _of_values(session, rest, values[start : start + _BATCH])
    ]
    for answer in answers:
        if answer.type == "error":
            fields, row = _query(session, rest, [answer])
            if fields is not None:
                found.append(Difference(answer, f"{_type(fields[0])} {_decoded(fields[0], row[0]['v'])!r}"))
    return found


def _of_values(session: requests.Session, rest: str, answers: list[Answer]) -> Iterator[Difference]:
    fields, row = _query(session, rest, answers)
    if fields is None:
        if len(answers) == 1:
            # A result of BigQuery has no NULL in an array, though GoogleSQL's values may.
            if "null element" not in row or not isinstance(answers[0].value, list) or None not in answers[0].value:
                yield Difference(answers[0], f"error {row}")
            return
        half = len(answers) // 2
        yield from _of_values(session, rest, answers[:half])
        yield from _of_values(session, rest, answers[half:])
        return
    for answer, field, cell in zip(answers, fields, row, strict=True):
        kind, value = _type(field), _decoded(field, cell["v"])
        # A NULL array is an empty one in results.
        expected = [] if answer.value is None and answer.type.startswith("ARRAY") else answer.value
        if kind != answer.type or not _is_same(value, _expected(answer.type, expected)):
            yield Difference(answer, f"{kind} {value!r}")


def _query(session: requests.Session, rest: str, answers: list[Answer]) -> tuple[list[Any] | None, Any]:
    """Return the fields and the cells of the row; None and a message if the query failed."""
    items = ", ".join(f"{answer.sql} AS c{number}" for number, answer in enumerate(answers))
    body = {
        "query": f"SELECT {items}",
        "useLegacySql": False,
        "timeoutMs": 200_000,
        "formatOptions": {"useInt64Timestamp": True},
    }
    answer = session.post(f"{rest}/bigquery/v2/projects/demo/queries", json=body, timeout=300).json()
    if "error" in answer:
        return None, answer["error"]["message"]
    return answer["schema"]["fields"], answer["rows"][0]["f"]


def _type(field: dict[str, Any]) -> str:
    kind = _TYPES.get(field["type"], field["type"])
    if kind == "STRUCT":
        names = ("" if inner["name"].startswith("_field_") else inner["name"] for inner in field["fields"])
        pairs = zip(names, field["fields"], strict=True)
        kind = f"STRUCT<{', '.join(f'{name} {_type(inner)}'.strip() for name, inner in pairs)}>"
    return f"ARRAY<{kind}>" if field.get("mode") == "REPEATED" else kind


def _decoded(field: dict[str, Any], value: Any) -> Any:  # noqa: PLR0911  one case a type
    """Return the value of a cell in the form of the record."""
    if field.get("mode") == "REPEATED":
        return [_decoded({**field, "mode": "NULLABLE"}, item["v"]) for item in value or []]
    if value is None:
        return None
    match field["type"]:
        case "RECORD" | "STRUCT":
            return [_decoded(inner, cell["v"]) for inner, cell in zip(field["fields"], value["f"], strict=True)]
        case "INTEGER" | "INT64" | "TIMESTAMP":
            return int(value) if str(value).lstrip("-").isdigit() else value
        case "FLOAT" | "FLOAT64":
            return float(value)
        case "NUMERIC" | "BIGNUMERIC":
            return Decimal(value)
        case "BOOLEAN" | "BOOL":
            return str(value).lower() == "true"
    return value


def _expected(kind: str, value: Any) -> Any:
    """Return a recorded value in the form of `_decoded`."""
    if isinstance(value, list) and kind.startswith("ARRAY<"):
        return [_expected(kind.removeprefix("ARRAY<").removesuffix(">"), item) for item in value]
    if value is None:
        return None
    match kind:
        case "FLOAT64":
            return float(value)
        case "NUMERIC" | "BIGNUMERIC":
            return Decimal(value)
        case "DATETIME" | "TIME":
            return value.rstrip("0").rstrip(".") if "." in value else value
    return value


def _is_same(here: Any, expected: Any) -> bool:
    if isinstance(here, list) and isinstance(expected, list):
        return len(here) == len(expected) and all(map(_is_same, here, expected))
    if isinstance(here, float) and isinstance(expected, float):
        return (math.isnan(here) and math.isnan(expected)) or math.isclose(here, expected, rel_tol=_TOLERANCE)
    if isinstance(here, str) and isinstance(expected, str) and re.fullmatch(r"(\S+T)?\d\d:\d\d:\d\d\.\d+", here):
        here, expected = here.rstrip("0").rstrip("."), expected.rstrip("0").rstrip(".") if "." in expected else expected
    return here == expected
