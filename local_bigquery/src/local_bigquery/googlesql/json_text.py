"""TO_JSON_STRING of structs, arrays and JSON, which the macros hand over as DuckDB's JSON with DuckDB's type.

Encodings: https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#json_encodings
"""

import base64
import json
import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import duckdb

from local_bigquery.googlesql.vectors import create

Encoder = Callable[[Any], str]

_TOKEN = re.compile(r'"(?:[^"]|"")*"|[\w ]+|[(),\[\]]')
_EXACT_INTEGERS = 2**53
_BLOB_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})")
_INDENT = "  "


def register(connection: duckdb.DuckDBPyConnection) -> None:
    """Create the functions in a database."""
    create(connection, "gsql_json_deep", _json_of, ["VARCHAR", "VARCHAR", "BOOLEAN"], "VARCHAR")
    create(connection, "gsql_json_pretty", _pretty, ["VARCHAR"], "VARCHAR")


def float_text(value: float) -> str:
    """Return a FLOAT64 as GoogleSQL writes it: 15 significant digits if they suffice, else 17."""
    if value == 0:
        return "0"
    short = f"{value:.15g}"
    return short if float(short) == value else f"{value:.17g}"


def _json_of(text: str, kind: str, stringify: bool) -> str:  # noqa: FBT001  an argument of a SQL function
    return _encoder(kind, stringify)(_load(text))


class _Number(str):
    """A number in JSON, as its text."""

    __slots__ = ()


class _Object(list[tuple[str, Any]]):
    """The members of an object in JSON, in their order."""


_decoder = json.JSONDecoder(
    object_pairs_hook=_Object, parse_float=_Number, parse_int=_Number, parse_constant=_Number, strict=False
)


def _load(text: str) -> Any:
    return _decoder.decode(text)


@lru_cache(1024)
def _encoder(kind: str, stringify: bool) -> Encoder:  # noqa: FBT001  part of the key of a cache
    return _Parser(kind, stringify).parse()


class _Parser:
    """A parser of DuckDB's names of types, such as `STRUCT(a BIGINT, "b c" VARCHAR[])`."""

    def __init__(self, kind: str, stringify: bool) -> None:  # noqa: FBT001
        self._tokens = [token for token in (token.strip() for token in _TOKEN.findall(kind)) if token]
        self._stringify = stringify

    def parse(self) -> Encoder:
        encoder = self._type(self._tokens.pop(0))
        while self._tokens and self._tokens[0] == "[":
            while self._tokens.pop(0) != "]":
                pass
            encoder = _list_encoder(encoder)
        return encoder

    def _type(self, name: str) -> Encoder:
        if name == "STRUCT":
            return self._struct()
        if name == "DECIMAL":
            while self._tokens.pop(0) != ")":
                pass
        return _nullable(_scalar_encoder(name, self._stringify))

    def _struct(self) -> Encoder:
        names, encoders = [], []
        while self._tokens.pop(0) != ")":
            first = self._tokens.pop(0)
            if first.startswith('"'):
                name = first[1:-1].replace('""', '"')
            else:  # the name and the type are one token
                name, _, kind = first.partition(" ")
                self._tokens.insert(0, kind)
            names.append(_text(name) + ":")
            encoders.append(self.parse())

        def encode(members: _Object) -> str:
            pairs = zip(names, encoders, members, strict=True)
            return "{" + ",".join(name + encoder(value) for name, encoder, (_, value) in pairs) + "}"

        return _nullable(encode)


def _nullable(encoder: Encoder) -> Encoder:
    return lambda value: "null" if value is None else encoder(value)


def _list_encoder(encoder: Encoder) -> Encoder:
    return _nullable(lambda values: "[" + ",".join(map(encoder, values)) + "]")


def _scalar_encoder(name: str, stringify: bool) -> Encoder:  # noqa: FBT001, PLR0911  one case a type
    match name:
        case "VARCHAR":
            return _text
        case "BOOLEAN":
            return lambda value: "true" if value else "false"
        case "BIGINT" | "INTEGER" | "HUGEINT" | "DECIMAL" | "SMALLINT" | "TINYINT":
            return lambda value: _exact(value, stringify)
        case "DOUBLE" | "FLOAT":
            return _float
        case "BLOB":
            return _blob
        case "DATE":
            return _text
        case "TIME" | "TIMESTAMP" | "TIMESTAMP WITH TIME ZONE":
            return _time
        case "JSON":
            return _normal
    raise ValueError(f"TO_JSON_STRING of type {name} is not supported by the local BigQuery")


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _exact(value: str, stringify: bool) -> str:  # noqa: FBT001
    text = value.rstrip("0").rstrip(".") if "." in value else value
    return f'"{text}"' if stringify and ("." in text or abs(int(text)) > _EXACT_INTEGERS) else text


def _float(value: str) -> str:
    number = float(value)
    if math.isnan(number):
        return '"NaN"'
    if math.isinf(number):
        return '"Infinity"' if number > 0 else '"-Infinity"'
    return float_text(number)


def _blob(value: str) -> str:
    raw = _BLOB_ESCAPE.sub(lambda match: chr(int(match[1], 16)), value).encode("latin-1")
    return f'"{base64.b64encode(raw).decode()}"'


def _time(value: str) -> str:
    text = value.replace(" ", "T").replace("+00", "Z")
    head, point, fraction = text.removesuffix("Z").partition(".")
    if point:
        fraction = f"{fraction:0<3}" if len(fraction) <= 3 else f"{fraction:0<6}"  # noqa: PLR2004  milliseconds
    return f'"{head}{point}{fraction}{"Z" if text.endswith("Z") else ""}"'


def _normal(value: Any) -> str:
    """Return JSON as BigQuery's type JSON writes it: members sorted by their names."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case _Number():
            is_whole = value.lstrip("-").isdigit() and -(2**63) <= int(value) < 2**64
            number = repr(float(value))
            return str(value) if is_whole else number
        case _Object():
            members = sorted(dict(value).items())
            return "{" + ",".join(f"{_text(name)}:{_normal(member)}" for name, member in members) + "}"
        case list():
            return "[" + ",".join(map(_normal, value)) + "]"
    return _text(value)


def _pretty(text: str) -> str:
    return _indented(_load(text), "")


def _indented(value: Any, indent: str) -> str:  # noqa: PLR0911  one case a type
    inner = indent + _INDENT
    match value:
        case _Object() if value:
            members = (f"{inner}{_text(name)}: {_indented(member, inner)}" for name, member in value)
            return "{\n" + ",\n".join(members) + f"\n{indent}}}"
        case _Object():
            return "{}"
        case list() if value:
            return "[\n" + ",\n".join(f"{inner}{_indented(item, inner)}" for item in value) + f"\n{indent}]"
        case list():
            return "[]"
        case _Number():
            return str(value)
        case None | bool():
            return json.dumps(value)
    return _text(value)
