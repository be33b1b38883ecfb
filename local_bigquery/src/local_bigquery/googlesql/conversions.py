"""CAST, STRING and literals."""

import re

from sqlglot import exp

from local_bigquery.errors import invalid_query
from local_bigquery.googlesql import udfs
from local_bigquery.googlesql.calls import FLOAT64, INT64, Handler, call, is_simple
from local_bigquery.googlesql.kinds import NAMES, Kinds

_ESCAPE = re.compile(r"\\([xX][0-9a-fA-F]{2}|[0-3][0-7]{2}|.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_WITHOUT_MACRO = ("ARRAY", "BIGNUMERIC", "INTERVAL", "JSON", "STRUCT")
_CASTS = {kind: name.lower() for kind, name in NAMES.items() if name not in _WITHOUT_MACRO}


def json_literals(tree: exp.Expr) -> None:
    """Let `JSON '...'[0].a` be a subscript of JSON: sqlglot reads it as the JSON of a subscript of a string."""
    for literal in list(tree.find_all(exp.ParseJSON)):
        inner = literal.this
        while isinstance(inner, exp.Bracket | exp.Dot):
            inner = inner.this
        if inner is not literal.this and isinstance(inner, exp.Literal) and inner.is_string:
            whole = literal.this
            inner.replace(exp.ParseJSON(this=inner.copy()))
            literal.replace(whole)


def _cast(node: exp.Cast, kinds: Kinds) -> exp.Expr | None:
    name = _CASTS.get(node.to.this)
    if name is None or node.args.get("format") or (node.to.expressions and not _is_full_numeric(node.to)):
        return None
    is_safe = isinstance(node, exp.TryCast)
    value = node.this
    if isinstance(value, exp.Literal) and value.is_string and not is_safe and name in _LITERALS:
        return _timestamp_literal(node) if name == "timestamp" else None
    if name == "timestamp":
        return call("safe_timestamp", value) if is_safe else call("timestamp_from_any", value, "UTC")
    if name == "string" and (native := _native_text(value, kinds)) is not None:
        return native
    return call(f"safe_{name}" if is_safe else name, value)


def _native_text(value: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    """Return the text of a value without a choice by its type, if it is a column of a known type."""
    if kinds.of(value) == FLOAT64 and is_simple(value):
        return call("float_text", value)
    return call("text", value) if kinds.of(value) in (INT64, "BOOL", "DATE", "STRING") else None


_LITERALS = ("date", "time", "datetime", "timestamp")


def _timestamp_literal(node: exp.Cast) -> exp.Expr:
    """Return the literal in a form that the emulator reads."""
    try:
        value = udfs.timestamp_of_text(node.this.name, "UTC")
    except (ValueError, OverflowError) as error:
        raise invalid_query(f"Invalid TIMESTAMP literal: {node.this.name}") from error
    text = f"{value.year:04}{value:-%m-%d %H:%M:%S.%f}+00"
    return exp.Cast(this=exp.Literal.string(text), to=node.to.copy())


def _is_full_numeric(kind: exp.DataType) -> bool:
    return [parameter.name for parameter in kind.expressions] == ["38", "9"]


def _bytes(node: exp.ByteString, _: Kinds) -> exp.Expr:
    r"""Return bytes as hexadecimal digits: the emulator does not read `\\xff`."""
    value = _ESCAPE.sub(_unescaped, node.this) if not node.args.get("is_bytes_raw") else node.this
    is_text = any(ord(character) > 255 for character in value)  # noqa: PLR2004  the largest byte
    return call("unhex", (value.encode() if is_text else value.encode("latin-1")).hex())


def _unescaped(match: re.Match[str]) -> str:
    """Return the byte of an escape sequence, as the character with its number."""
    text = match[1]
    if text[0] in "xX":
        return chr(int(text[1:], 16))
    if text.isdigit():
        return chr(int(text, 8))
    return _ESCAPED.get(text, text)


def _string(node: exp.String, kinds: Kinds) -> exp.Expr | None:
    if kinds.of(node.this) == "JSON" or isinstance(node.this, exp.ParseJSON):
        return None
    zone = node.args.get("zone")
    return call("timestamp_text", node.this, zone) if zone else call("string", node.this)


HANDLERS: dict[type[exp.Expr], Handler] = {
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.ByteString: _bytes,
    exp.ParseNumeric: lambda node, _: call("parse_numeric", node.this),
    exp.String: _string,
}
