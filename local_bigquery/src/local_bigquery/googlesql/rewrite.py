"""Replaces functions and operators of GoogleSQL by the macros of `macros.sql`.

A handler rewrites one kind of node, after its children. Types come from the query itself and from the schemas of the
tables; where a type stays unknown, the macros find it out.
"""

import json
import re
from collections.abc import Callable
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from local_bigquery.errors import invalid_query
from local_bigquery.googlesql import udfs
from local_bigquery.googlesql.formats import format_pieces, printf
from local_bigquery.googlesql.kinds import Kinds, Tables
from local_bigquery.googlesql.tables import empty_arrays, offsets, typed_columns
from local_bigquery.sql.generator import to_sql

_DIALECT = "bigquery"
_ARITHMETIC = (exp.Add, exp.Sub, exp.Mul, exp.Div, exp.Neg)
_DAYS = {"SUNDAY": 0, "MONDAY": 1, "TUESDAY": 2, "WEDNESDAY": 3, "THURSDAY": 4, "FRIDAY": 5, "SATURDAY": 6}
_ESCAPE = re.compile(r"\\([xX][0-9a-fA-F]{2}|[0-3][0-7]{2}|.)", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_INT64 = "INT64"
_FLOAT64 = "FLOAT64"
_NUMERIC = "NUMERIC"

# Macros that evaluate their arguments once, in a lambda. The name with `_of` does not: it is faster for a column.
_EVALUATED_ONCE = frozenset(
    ("string", "literal", "shown", "numeric", "safe_numeric", "in_range", "json", "numeric_divide", "numeric_div",
     "safe_numeric_divide", "pow", "numeric_round_to", "numeric_trunc_to", "timestamp_text", "format_timestamp")
)  # fmt: skip
# Elements of a format that DuckDB writes like GoogleSQL.
_COMMON_FORMAT = re.compile(r"(?:[^%]|%[YmdHMSyjaAbBpIuwUWVG%])*")

Handler = Callable[[Any, Kinds], exp.Expr | None]


def rewrite(sql: str, tables: Tables | None = None) -> str:
    """Return a statement with macros in place of the functions that the emulator misreads.

    Args:
        sql: one statement.
        tables: the columns of the tables in it and their types; None if the text is the body of a function.
    """
    try:
        trees = sqlglot.parse(sql, read=_DIALECT)
    except SqlglotError:
        return sql  # the emulator reports the error
    if len(trees) != 1 or trees[0] is None or isinstance(trees[0], exp.Command):
        return sql
    tree = trees[0]
    typed_columns(tree)
    if tables is not None:
        _name_columns(tree)
    offsets(tree)
    empty_arrays(tree, tables or {})
    nodes = list(tree.walk())
    kinds = Kinds(tree, tables or {})
    for node in reversed(nodes):  # children before parents
        handler = _HANDLERS.get(type(node))
        new = handler(node, kinds) if handler is not None else None
        if new is not None:
            kinds.replace(node, new)
    return to_sql(tree)


def _call(name: str, *arguments: exp.Expr | str | float | bool) -> exp.Anonymous:
    """Return a call of a macro, with copies of the arguments; Python values become literals."""
    if name in _EVALUATED_ONCE and all(not isinstance(item, exp.Expr) or _is_simple(item) for item in arguments):
        name += "_of"  # the macro without a lambda
    return exp.Anonymous(
        this=f"gsql_{name}",
        expressions=[item.copy() if isinstance(item, exp.Expr) else exp.convert(item) for item in arguments],
    )


def _is_simple(node: exp.Expr) -> bool:
    return isinstance(node, exp.Column | exp.Literal | exp.Boolean)


def _all(operator: type[exp.Connector], conditions: list[exp.Expr]) -> exp.Expr:
    result = conditions[0]
    for condition in conditions[1:]:
        result = operator(this=result, expression=condition)
    return exp.paren(result, copy=False)


def _name_columns(tree: exp.Expr) -> None:
    """Name the columns without AS as BigQuery does: `f0_`, `f1_`."""
    for select in tree.find_all(exp.Select):
        if select.args.get("kind"):
            continue
        number = 0
        for item in select.expressions:
            is_unnamed = not isinstance(item, exp.Alias | exp.Column | exp.Star | exp.Aliases | exp.Identifier)
            if is_unnamed and not (isinstance(item, exp.Dot) and isinstance(item.expression, exp.Identifier)):
                item.replace(exp.alias_(item.copy(), f"f{number}_"))
                number += 1


# arithmetic


def _leaves(node: exp.Expr) -> list[exp.Expr]:
    """Return the operands of an arithmetic expression that are no literals."""
    if isinstance(node, exp.Literal):
        return []
    if isinstance(node, (*_ARITHMETIC, exp.Paren)):
        return [leaf for child in node.iter_expressions() for leaf in _leaves(child)]
    if isinstance(node, exp.Anonymous) and node.name == "gsql_divide":
        return [leaf for child in node.expressions for leaf in _leaves(child)]
    return [node]


def _arithmetic(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    left, right = node.this, node.args.get("expression")
    if isinstance(node, exp.Neg) and kinds.of(left) == _INT64 and not isinstance(left, exp.Literal):
        return _call("negative", left)
    new = _operation(node, left, right, kinds)
    parent = node.parent
    while isinstance(parent, exp.Paren):
        parent = parent.parent
    if isinstance(parent, _ARITHMETIC) or kinds.of(node) not in (None, _FLOAT64):
        return new
    value = new or node
    if value.find(exp.Interval) or isinstance(node, exp.Neg):
        return new
    leaves = _leaves(value)
    infinite = [_call("infinite", leaf) for leaf in dict.fromkeys(leaves)]
    return _call("finite", value, _all(exp.Or, infinite) if infinite else exp.false())


def _operation(node: exp.Expr, left: exp.Expr, right: exp.Expr | None, kinds: Kinds) -> exp.Expr | None:
    if right is None:
        return None
    pair = (kinds.of(left), kinds.of(right))
    match node, pair:
        case exp.Div(), ("NUMERIC", "NUMERIC" | "INT64") | ("INT64", "NUMERIC"):
            return _call("numeric_divide", left, right)
        case exp.Div(), _:
            # An inner division is checked here: an infinite divisor would hide an overflow.
            return _call("divide", left, _checked(right))
        case exp.Mul(), ("NUMERIC", "NUMERIC" | "INT64") | ("INT64", "NUMERIC"):
            return _call("numeric_multiply", left, right)
        case exp.Add() | exp.Sub(), ("NUMERIC", "NUMERIC" | "INT64") | ("INT64", "NUMERIC"):
            return _call("numeric_add" if isinstance(node, exp.Add) else "numeric_subtract", left, right)
        case exp.Add(), ("DATE", "INT64"):
            return _call("date_plus", left, right)
        case exp.Add(), ("INT64", "DATE"):
            return _call("date_plus", right, left)
        case exp.Sub(), ("DATE", "INT64"):
            return _call("date_minus", left, right)
        case exp.Sub(), ("DATE", "DATE"):
            return _call("date_interval", left, right)
        case _, ("INT64", "INT64"):
            for operand in (left, right):
                if isinstance(operand, exp.Literal):
                    operand.replace(_call("bigint", operand))
    return None


def _checked(node: exp.Expr) -> exp.Expr:
    inner = node.unnest()
    if isinstance(inner, _ARITHMETIC) and (leaves := _leaves(inner)):
        return _call("finite", inner, _all(exp.Or, [_call("infinite", leaf) for leaf in dict.fromkeys(leaves)]))
    return node


def _div(node: exp.IntDiv, kinds: Kinds) -> exp.Expr:
    decimal = _NUMERIC in (kinds.of(node.this), kinds.of(node.expression))
    return _call("numeric_div" if decimal else "div", node.this, node.expression)


def _mod(node: exp.Mod, kinds: Kinds) -> exp.Expr:
    decimal = _NUMERIC in (kinds.of(node.this), kinds.of(node.expression))
    return _call("numeric_mod" if decimal else "mod", node.this, node.expression)


def _safe_divide(node: exp.SafeDivide, kinds: Kinds) -> exp.Expr:
    pair = {kinds.of(node.this), kinds.of(node.expression)}
    decimal = _NUMERIC in pair and pair <= {_NUMERIC, _INT64}
    return _call("safe_numeric_divide" if decimal else "safe_divide", node.this, node.expression)


def _safe_arithmetic(operator: type[exp.Binary], numeric: str) -> Handler:
    def handler(node: exp.Binary, kinds: Kinds) -> exp.Expr:
        left, right = node.this, node.expression
        pair = {kinds.of(left), kinds.of(right)}
        if _NUMERIC in pair and pair <= {_NUMERIC, _INT64}:
            return exp.Anonymous(this="TRY", expressions=[_call(numeric, left, right)])
        if pair == {_INT64}:
            left, right = _call("bigint", left), _call("bigint", right)
        infinite = _all(exp.Or, [_call("infinite", left), _call("infinite", right)])
        value = operator(this=exp.paren(left), expression=exp.paren(right))
        return exp.Anonymous(this="TRY", expressions=[_call("finite", value, infinite)])

    return handler


def _float_function(name: str) -> Handler:
    """Return a handler of a function of one FLOAT64 whose result must be finite."""
    return lambda node, _: _call(name, node.this)


def _by_decimal(name: str) -> Handler:
    """Return a handler for a function with a macro for NUMERIC and one for other types."""

    def handler(node: exp.Expr, kinds: Kinds) -> exp.Expr:
        arguments = [node.this, *(node.args[key] for key in ("decimals", "expression") if node.args.get(key))]
        suffix = "_to" if len(arguments) > 1 else ""
        is_decimal = kinds.of(node.this) in (_NUMERIC, "BIGNUMERIC")
        return _call(f"{'numeric_' if is_decimal else ''}{name}{suffix}", *arguments)

    return handler


def _log(node: exp.Log, _: Kinds) -> exp.Expr:
    if node.this.is_int and node.this.name == "10":
        return _call("log10", node.expression)
    return _call("log", node.expression, node.this)


def _pow(node: exp.Pow, kinds: Kinds) -> exp.Expr:
    pair = {kinds.of(node.this), kinds.of(node.expression)}
    name = "numeric_pow" if _NUMERIC in pair and _FLOAT64 not in pair else "pow"
    return _call(name, node.this, node.expression)


# comparisons


def _comparison(name: str, *, swap: bool = False) -> Handler:
    def handler(node: exp.Binary, kinds: Kinds) -> exp.Expr | None:
        left, right = (node.expression, node.this) if swap else (node.this, node.expression)
        if isinstance(node.parent, exp.Join) or node.find_ancestor(exp.Update, exp.Merge, exp.Delete):
            return None  # NaN is no key of a join
        if not all(kinds.of(side) in (None, _FLOAT64) for side in (left, right)):
            return None
        if any(
            isinstance(side, exp.Null | exp.Boolean | exp.Tuple | exp.Struct | exp.Subquery) for side in (left, right)
        ):
            return None
        if isinstance(left, exp.Literal) and left.is_string or isinstance(right, exp.Literal) and right.is_string:
            return None
        return _call(name, left, right)

    return handler


def _extreme(node: exp.Least | exp.Greatest, kinds: Kinds) -> exp.Expr | None:
    items = [node.this, *node.expressions]
    if not all(kinds.of(item) in (None, _FLOAT64, _INT64) for item in items):
        return None
    if isinstance(node, exp.Greatest) or not any(kinds.of(item) in (None, _FLOAT64) for item in items):
        return None
    case = exp.Case()
    case = case.when(_all(exp.Or, [item.copy().is_(exp.null()) for item in items]), exp.null())
    case = case.when(
        _all(exp.Or, [_call("nan", item) for item in items]), exp.Greatest(this=items[0], expressions=items[1:])
    )
    return case.else_(node.copy())


def _minimum(node: exp.Min, kinds: Kinds) -> exp.Expr | None:
    if isinstance(node.parent, exp.Window) or kinds.of(node.this) not in (None, _FLOAT64):
        return None
    return _call("min", node.this)


def _sum(node: exp.Sum | exp.Avg, kinds: Kinds) -> exp.Expr | None:
    value = node.this
    if isinstance(node.parent, exp.Window | exp.Filter) or isinstance(value, exp.Distinct):
        return None
    kind = kinds.of(value)
    if kind == _INT64:
        return _call("bigint", node) if isinstance(node, exp.Sum) else None
    if kind == _NUMERIC and isinstance(node, exp.Avg):
        return _call("numeric_divide", exp.Sum(this=value.copy()), exp.Count(this=value.copy()))
    if kind in (None, _FLOAT64):
        return _call("sum_checked" if isinstance(node, exp.Sum) else "avg_checked", node, value)
    return None


# conversions

_CASTS = {
    exp.DType.TEXT: "string",
    exp.DType.VARCHAR: "string",
    exp.DType.BIGINT: "int64",
    exp.DType.INT: "int64",
    exp.DType.BOOLEAN: "bool",
    exp.DType.DOUBLE: "float64",
    exp.DType.BINARY: "bytes",
    exp.DType.VARBINARY: "bytes",
    exp.DType.DECIMAL: "numeric",
    exp.DType.DATE: "date",
    exp.DType.TIME: "time",
    exp.DType.TIMESTAMP: "datetime",
    exp.DType.DATETIME: "datetime",
    exp.DType.TIMESTAMPTZ: "timestamp",
}


def _cast(node: exp.Cast, kinds: Kinds) -> exp.Expr | None:
    name = _CASTS.get(node.to.this)
    if name is None or node.args.get("format") or (node.to.expressions and not _is_full_numeric(node.to)):
        return None
    is_safe = isinstance(node, exp.TryCast)
    value = node.this
    if isinstance(value, exp.Literal) and value.is_string and not is_safe and name in _LITERALS:
        return _time_literal(node, name)
    if name == "timestamp":
        return _call("safe_timestamp", value) if is_safe else _call("timestamp_from_any", value, "UTC")
    if name == "string" and (native := _native_text(value, kinds)) is not None:
        return native
    return _call(f"safe_{name}" if is_safe else name, value)


def _native_text(value: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    """Return the text of a value without a choice by its type, if it is a column of a known type."""
    if kinds.of(value) == _FLOAT64 and _is_simple(value):
        return _call("float_text", value)
    return _call("text", value) if kinds.of(value) in (_INT64, "BOOL", "DATE", "STRING") else None


_LITERALS = ("date", "time", "datetime", "timestamp")


def _time_literal(node: exp.Cast, name: str) -> exp.Expr | None:
    """Return a literal of a time in a form that the emulator reads; None if it reads the one given."""
    if name != "timestamp":
        return None
    try:
        value = udfs.timestamp_of_text(node.this.name, "UTC")
    except (ValueError, OverflowError) as error:
        raise invalid_query(f"Invalid TIMESTAMP literal: {node.this.name}") from error
    text = f"{value.year:04}{value:-%m-%d %H:%M:%S.%f}+00"
    return exp.Cast(this=exp.Literal.string(text), to=node.to.copy())


def _is_full_numeric(kind: exp.DataType) -> bool:
    return [parameter.name for parameter in kind.expressions] == ["38", "9"]


def _bytes(node: exp.ByteString, _: Kinds) -> exp.Expr:
    """Return bytes as hexadecimal digits: the emulator does not read `\\xff`."""
    value = _ESCAPE.sub(_unescaped, node.this) if not node.args.get("is_bytes_raw") else node.this
    is_text = any(ord(character) > 255 for character in value)  # noqa: PLR2004  the largest byte
    return _call("unhex", (value.encode() if is_text else value.encode("latin-1")).hex())


def _unescaped(match: re.Match[str]) -> str:
    """Return the byte of an escape sequence, as the character with its number."""
    text = match[1]
    if text[0] in "xX":
        return chr(int(text[1:], 16))
    if text.isdigit():
        return chr(int(text, 8))
    return _ESCAPED.get(text, text)


# strings


def _substring(node: exp.Substring, kinds: Kinds) -> exp.Expr:
    kind = "bytes_" if kinds.of(node.this) == "BYTES" else ""
    start = node.args.get("start")
    size = node.args.get("length")
    return (
        _call(f"{kind}substr", node.this, start, size)
        if size is not None
        else _call(f"{kind}substr_from", node.this, start)
    )


def _format(node: exp.Format, _: Kinds) -> exp.Expr | None:
    pattern = node.this
    if not isinstance(pattern, exp.Literal) or not pattern.is_string:
        return None
    pieces = [
        exp.Literal.string(piece) if isinstance(piece, str) else printf(piece, _call)
        for piece in format_pieces(pattern.this, [item.copy() for item in node.expressions])
    ]
    return _call("concat", exp.Anonymous(this="list_value", expressions=pieces))


def _pad(node: exp.Pad, kinds: Kinds) -> exp.Expr | None:
    if kinds.of(node.this) == "BYTES":
        return None
    pattern = node.args.get("fill_pattern") or exp.Literal.string(" ")
    return _call("lpad" if node.args.get("is_left") else "rpad", node.this, node.expression, pattern)


def _checked_count(name: str) -> Handler:
    return lambda node, _: _call(name, node.this, node.expression) if node.args.get("expression") else None


def _joined(node: exp.Concat | exp.ArrayConcat, kinds: Kinds) -> exp.Expr | None:
    name = "list_concat" if isinstance(node, exp.ArrayConcat) else "join"
    items = [*([node.this] if isinstance(node, exp.ArrayConcat) else []), *node.expressions]
    if len(items) < 2:  # noqa: PLR2004  nothing to join
        return None
    result = items[0]
    is_text = name == "join" and any(kinds.of(item) == "STRING" for item in items)
    for item in items[1:]:
        result = _call("join_text" if is_text else name, result, item)
    return result


def _trim(node: exp.Trim, kinds: Kinds) -> exp.Expr | None:
    if node.expression is not None or kinds.of(node.this) == "BYTES":
        return None
    return _call({"LEADING": "ltrim", "TRAILING": "rtrim"}.get(node.args.get("position") or "", "trim"), node.this)


def _array_to_string(node: exp.ArrayToString, _: Kinds) -> exp.Expr:
    absent = node.args.get("null")
    arguments = (node.this, node.expression)
    return _call("array_to_string_with", *arguments, absent) if absent else _call("array_to_string", *arguments)


def _series(node: exp.GenerateSeries, kinds: Kinds) -> exp.Expr:
    items = [node.args["start"], node.args["end"], node.args.get("step") or exp.Literal.number(1)]
    is_float = any(kinds.of(item) not in (None, _INT64) for item in items)
    return _call("generate_float_array" if is_float else "generate_array", *items)


def _checked_json(node: exp.Expr, _: Kinds) -> None:
    """Make a text that is no JSON NULL, in place."""
    node.this.replace(_call("valid_json", node.this))


def _reversed(node: exp.Reverse, kinds: Kinds) -> exp.Expr | None:
    return _call("reverse_bytes", node.this) if kinds.of(node.this) == "BYTES" else None


def _length(node: exp.Length, kinds: Kinds) -> exp.Expr | None:
    return _call("byte_length", node.this) if kinds.of(node.this) == "BYTES" else None


def _concatenated(node: exp.DPipe, kinds: Kinds) -> exp.Expr | None:
    if "ARRAY" in (kinds.of(node.this), kinds.of(node.expression)):
        return _call("list_concat", node.this, node.expression)
    is_text = "STRING" in (kinds.of(node.this), kinds.of(node.expression))
    return _call("join_text" if is_text else "join", node.this, node.expression)


# JSON


def _json(node: exp.JSONFormat, kinds: Kinds) -> exp.Expr:
    is_json = bool(node.args.get("to_json"))
    if node.args.get("options") is not None and is_json:
        return _call("unsupported", "TO_JSON with stringify_wide_numbers is not supported by the local BigQuery", "")
    text = _json_text(node.this, kinds, stringify=not is_json)
    if is_json:
        return _call("to_json", text)
    options = node.args.get("options")
    if options is None:
        return text
    if isinstance(options, exp.Boolean):
        return exp.Anonymous(this="gsql_json_pretty", expressions=[text]) if options.this else text
    case = exp.Case().when(options.copy(), exp.Anonymous(this="gsql_json_pretty", expressions=[text.copy()]))
    return case.else_(text)


def _json_text(value: exp.Expr, kinds: Kinds, *, stringify: bool) -> exp.Expr:
    """Return an expression for the JSON of a value: text by text if it is a STRUCT with its fields."""
    if isinstance(value, exp.Struct):
        pieces: list[exp.Expr] = []
        for place, item in enumerate(value.expressions):
            name, inner = _field(item)
            before = "," if place else "{"
            pieces.append(exp.Literal.string(f"{before}{json.dumps(name, ensure_ascii=False)}:"))
            pieces.append(_json_text(inner, kinds, stringify=stringify))
        return _call("concat", exp.Anonymous(this="list_value", expressions=[*pieces, exp.Literal.string("}")]))
    if kinds.of(value) == "ARRAY" and not value.find(exp.Select):
        return _call("json_list", value, stringify)
    match kinds.of(value):
        case "INT64":
            text: exp.Expr = _call("json_int64", value, stringify)
        case "FLOAT64":
            text = _call("json_float64", value)
            text = text if stringify else _call("json_point", text)
        case "STRING":
            text = _call("json_text", value)
        case _:
            return _call("json", value, stringify)
    return exp.Coalesce(this=text, expressions=[exp.Literal.string("null")])


def _field(item: exp.Expr) -> tuple[str, exp.Expr]:
    """Return the name and the value of a field of STRUCT(...)."""
    if isinstance(item, exp.PropertyEQ):
        return item.this.name, item.expression
    if isinstance(item, exp.Alias):
        return item.alias, item.this
    return (item.name if isinstance(item, exp.Column | exp.Dot) else ""), item


# arrays


def _element(node: exp.Bracket, kinds: Kinds) -> exp.Expr | None:
    if len(node.expressions) != 1 or kinds.of(node.this) in ("JSON", "STRUCT"):
        return None
    (place,) = node.expressions
    offset = node.args.get("offset")
    if isinstance(place, exp.Literal) and place.is_string or isinstance(place, exp.Slice):
        return None
    if offset is None and kinds.of(node.this) != "ARRAY":
        return None  # it may be JSON
    return _call("safe_element" if node.args.get("safe") else "element", node.this, place, offset or 0)


# dates and times


def _part(unit: exp.Expr | None) -> tuple[str, int]:
    """Return the name of a part of a date, and the first day of a week as days after Sunday."""
    if isinstance(unit, exp.WeekStart):
        return "WEEK", _DAYS[unit.this.name.upper()]
    name = unit.name.upper() if unit is not None else "DAY"
    if isinstance(unit, exp.Anonymous | exp.Week) and unit.find(exp.Var, exp.Column):
        inner = unit.find(exp.Var, exp.Column)
        return "WEEK", _DAYS[inner.name.upper()]
    if name.startswith("WEEK("):
        return "WEEK", _DAYS[name[5:-1]]
    return ("WEEK", 1) if name == "ISOWEEK" else (name, 0)


def _date_trunc(kind: str) -> Handler:
    def handler(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
        found = kinds.of(node.this)
        target = found if found in ("DATE", "DATETIME", "TIMESTAMP") else kind
        name, first = _part(node.args.get("unit"))
        zone = node.args.get("zone") or exp.Literal.string("UTC")
        value = _call("local", node.this, zone) if target == "TIMESTAMP" else node.this
        if name == "WEEK":
            day = _call("week_start", value, first)
        elif name == "ISOYEAR":
            day = _call("isoyear_start", value)
        elif target == "DATE":
            day = _call("date_trunc", name.lower(), value)
        else:
            day = _call("time_trunc", name.lower(), value)
        if target == "TIMESTAMP":
            return _call("instant", day, zone)
        return _call("datetime", day) if target == "DATETIME" else day

    return handler


def _diff(kind: str) -> Handler:
    def handler(node: exp.Expr, _: Kinds) -> exp.Expr:
        name, first = _part(node.args.get("unit"))
        left, right = node.this, node.expression
        if name == "WEEK":
            return _call("week_diff", left, right, first)
        if name == "ISOYEAR":
            return _call("isoyear_diff", left, right)
        return _call({"TIMESTAMP": "span", "TIME": "time_diff"}.get(kind, "parts_between"), name.lower(), left, right)

    return handler


def _extract(node: exp.Extract, kinds: Kinds) -> exp.Expr | None:
    value = node.expression
    if kinds.of(value) == "INTERVAL":
        return None
    if isinstance(value, exp.AtTimeZone):
        value = _call("local", value.this, value.args["zone"])
    name, first = _part(node.this)
    match name:
        case "WEEK" if node.this.name.upper() == "ISOWEEK":
            return _call("isoweek", value)
        case "WEEK":
            return _call("week", value, first)
        case "DAYOFWEEK":
            return _call("dayofweek", value)
        case "DATE" | "TIME" | "DATETIME":
            return _call(name.lower() if name != "TIME" else "time", value)
        case (
            "MICROSECOND"
            | "MILLISECOND"
            | "ISOYEAR"
            | "SECOND"
            | "MINUTE"
            | "HOUR"
            | "DAY"
            | "DAYOFYEAR"
            | "MONTH"
            | "QUARTER"
            | "YEAR"
        ):
            return _call(f"part_{name.lower()}", value)
    return None


def _last_day(node: exp.LastDay, _: Kinds) -> exp.Expr:
    name, first = _part(node.args.get("unit") or exp.Var(this="MONTH"))
    if name == "WEEK":
        return _call("week_end", node.this, first)
    if name == "ISOYEAR":
        return _call("isoyear_end", node.this)
    return _call("last_day", node.this, {"MONTH": 1, "QUARTER": 3, "YEAR": 12}[name], name.lower())


def _shifted(kind: str, sign: int) -> Handler:
    def handler(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
        amount = node.expression
        if isinstance(amount, exp.Literal) and amount.is_string:
            amount = exp.Literal.number(amount.name) if amount.name.lstrip("-").isdigit() else None
        unit = node.args.get("unit")
        if amount is None or unit is None or isinstance(amount, exp.Interval):
            return None
        found = kinds.of(node.this)
        target = found if found in ("DATE", "DATETIME", "TIMESTAMP", "TIME") else kind
        return _call(
            f"add_{target.lower()}",
            node.this,
            exp.paren(amount) if sign > 0 else exp.Neg(this=exp.paren(amount)),
            unit.name.lower(),
        )

    return handler


def _date(node: exp.Date, kinds: Kinds) -> exp.Expr | None:
    if node.expressions or isinstance(node.this, exp.Literal) or node.this is None:
        return None
    if node.args.get("zone"):
        return _call("local_date", node.this, node.args["zone"])
    return _call("date", node.this)


def _timestamp(node: exp.Timestamp, kinds: Kinds) -> exp.Expr | None:
    zone = node.args.get("zone") or exp.Literal.string("UTC")
    if kinds.of(node.this) in ("STRING", None):
        return _call("timestamp_from_any", node.this, zone)
    return node.this.copy() if kinds.of(node.this) == "TIMESTAMP" else _call("instant", node.this, zone)


def _datetime(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    second = node.args.get("expression") or node.args.get("zone")
    if node.expressions or isinstance(node.this, exp.Literal) and not node.this.is_string:
        return None
    if second is None:
        return _call("datetime", node.this)
    if kinds.of(node.this) == "DATE" and kinds.of(second) == "TIME":
        return _call("datetime_of", node.this, second)
    return _call("local", node.this, second)


def _time(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    zone = node.args.get("zone")
    return _call("local_time", node.this, zone) if zone else _call("time", node.this)


def _string(node: exp.String, kinds: Kinds) -> exp.Expr | None:
    if kinds.of(node.this) == "JSON" or isinstance(node.this, exp.ParseJSON):
        return None
    zone = node.args.get("zone")
    return _call("timestamp_text", node.this, zone) if zone else _call("string", node.this)


_WRAPPERS = {
    exp.TsOrDsToDate: "DATE",
    exp.TsOrDsToTimestamp: "TIMESTAMP",
    exp.TsOrDsToDatetime: "DATETIME",
    exp.TsOrDsToTime: "TIME",
}


def _wrapped(node: exp.Expr, kinds: Kinds) -> exp.Expr | None:
    """Return the macro for DATETIME(x) and TIME(x), which sqlglot parses as the wrappers within FORMAT functions."""
    if isinstance(node.parent, exp.TimeToStr):
        return None
    if isinstance(node, exp.TsOrDsToDatetime):
        return _datetime(node, kinds)
    return _time(node, kinds) if isinstance(node, exp.TsOrDsToTime) else None


def _format_time(node: exp.TimeToStr, _: Kinds) -> exp.Expr | None:
    wrapper = node.this
    kind = _WRAPPERS.get(type(wrapper))
    if kind is None:
        return None
    zone = node.args.get("zone") or exp.Literal.string("UTC")
    pattern = node.args["format"]
    is_common = isinstance(pattern, exp.Literal) and _COMMON_FORMAT.fullmatch(pattern.name) is not None
    return _call(f"{'strftime' if is_common else 'format'}_{kind.lower()}", pattern, wrapper.this, zone)


def _parse_time(kind: str) -> Handler:
    def handler(node: exp.Expr, _: Kinds) -> exp.Expr:
        zone = node.args.get("zone") or exp.Literal.string("UTC")
        return _call(f"parse_{kind}", node.args["format"], node.this, zone)

    return handler


_HANDLERS: dict[type[exp.Expr], Handler] = {
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    exp.IntDiv: _div,
    exp.Mod: _mod,
    exp.SafeDivide: _safe_divide,
    exp.SafeAdd: _safe_arithmetic(exp.Add, "numeric_add"),
    exp.SafeSubtract: _safe_arithmetic(exp.Sub, "numeric_subtract"),
    exp.SafeMultiply: _safe_arithmetic(exp.Mul, "numeric_multiply"),
    exp.BitwiseLeftShift: lambda node, _: _call("shift_left", node.this, node.expression),
    exp.BitwiseRightShift: lambda node, _: _call("shift_right", node.this, node.expression),
    exp.Exp: _float_function("exp"),
    exp.Ln: _float_function("ln"),
    exp.Sinh: _float_function("sinh"),
    exp.Cosh: _float_function("cosh"),
    exp.Sin: _float_function("sin"),
    exp.Cos: _float_function("cos"),
    exp.Tan: _float_function("tan"),
    exp.Asin: _float_function("asin"),
    exp.Acos: _float_function("acos"),
    exp.Acosh: _float_function("acosh"),
    exp.Atanh: _float_function("atanh"),
    exp.Cot: _float_function("cot"),
    exp.Coth: _float_function("coth"),
    exp.Csc: _float_function("csc"),
    exp.Csch: _float_function("csch"),
    exp.Sec: _float_function("sec"),
    exp.Log: _log,
    exp.Pow: _pow,
    exp.Sqrt: _by_decimal("sqrt"),
    exp.Round: _by_decimal("round"),
    exp.Trunc: _by_decimal("trunc"),
    exp.Sign: _by_decimal("sign"),
    exp.Least: _extreme,
    exp.Min: _minimum,
    exp.Sum: _sum,
    exp.Avg: _sum,
    exp.EQ: _comparison("equal"),
    exp.NEQ: _comparison("not_equal"),
    exp.LT: _comparison("less"),
    exp.LTE: _comparison("less_equal"),
    exp.GT: _comparison("less", swap=True),
    exp.GTE: _comparison("less_equal", swap=True),
    exp.Cast: _cast,
    exp.TryCast: _cast,
    exp.ByteString: _bytes,
    exp.Substring: _substring,
    exp.Pad: _pad,
    exp.Repeat: lambda node, _: _call("repeat", node.this, node.args["times"]),
    exp.Left: _checked_count("left"),
    exp.Right: _checked_count("right"),
    exp.DPipe: _concatenated,
    exp.Concat: _joined,
    exp.ArrayConcat: _joined,
    exp.Trim: _trim,
    exp.ArrayToString: _array_to_string,
    exp.GenerateSeries: _series,
    exp.JSONExtractScalar: _checked_json,
    exp.JSONExtract: _checked_json,
    exp.Reverse: _reversed,
    exp.Length: _length,
    exp.Split: lambda node, _: _call("split", node.this, node.expression),
    exp.RangeBucket: lambda node, _: _call("range_bucket", node.this, node.expression),
    exp.Levenshtein: lambda node, _: _call("levenshtein", node.this, node.expression),
    exp.BitwiseCount: lambda node, _: _call("bit_count", node.this),
    exp.Unicode: lambda node, _: _call("unicode", node.this),
    exp.Chr: lambda node, _: _call("chr", node.expressions[0]),
    exp.Ceil: _by_decimal("ceil"),
    exp.Floor: _by_decimal("floor"),
    exp.Abs: _by_decimal("abs"),
    exp.StrPosition: lambda node, _: (
        _call("position", node, node.this, node.args["position"]) if node.args.get("position") else None
    ),
    exp.ArraySlice: lambda node, _: _call("array_slice", node.this, node.args["start"], node.args["end"]),
    exp.ToCodePoints: lambda node, kinds: None if kinds.of(node.this) == "BYTES" else _call("code_points", node.this),
    exp.Corr: lambda node, _: (
        None if isinstance(node.parent, exp.Window) else _call("corr", node.this, node.expression)
    ),
    exp.ParseNumeric: lambda node, _: _call("parse_numeric", node.this),
    exp.UnixMillis: lambda node, _: _call("unix_millis", node.this),
    exp.Bracket: _element,
    exp.JSONFormat: _json,
    exp.DateTrunc: _date_trunc("DATE"),
    exp.DatetimeTrunc: _date_trunc("DATETIME"),
    exp.TimestampTrunc: _date_trunc("TIMESTAMP"),
    exp.DateDiff: _diff("DATE"),
    exp.DatetimeDiff: _diff("DATETIME"),
    exp.TimestampDiff: _diff("TIMESTAMP"),
    exp.Extract: _extract,
    exp.LastDay: _last_day,
    exp.DateAdd: _shifted("DATE", 1),
    exp.DateSub: _shifted("DATE", -1),
    exp.DatetimeAdd: _shifted("DATETIME", 1),
    exp.DatetimeSub: _shifted("DATETIME", -1),
    exp.TimestampAdd: _shifted("TIMESTAMP", 1),
    exp.TimestampSub: _shifted("TIMESTAMP", -1),
    exp.TimeAdd: _shifted("TIME", 1),
    exp.TimeSub: _shifted("TIME", -1),
    exp.Date: _date,
    exp.Timestamp: _timestamp,
    exp.Datetime: _datetime,
    exp.String: _string,
    exp.Format: _format,
    exp.TsOrDsToDatetime: _wrapped,
    exp.TsOrDsToTime: _wrapped,
    exp.Time: lambda node, kinds: _time(node, kinds) if node.args.get("zone") else None,
    exp.TimeToStr: _format_time,
    exp.StrToDate: _parse_time("date"),
    exp.StrToTime: _parse_time("timestamp"),
    exp.ParseDatetime: _parse_time("datetime"),
    exp.ParseTime: _parse_time("time"),
    exp.TimeDiff: _diff("TIME"),
    exp.TimeTrunc: lambda node, _: _call("time_of_day_trunc", node.args["unit"].name.lower(), node.this),
    exp.UnixSeconds: lambda node, _: _call("unix_seconds", node.this),
}
