"""Functions of strings, JSON and arrays."""

import json

from sqlglot import exp

from local_bigquery.googlesql.calls import INT64, Handler, call
from local_bigquery.googlesql.formats import format_pieces
from local_bigquery.googlesql.kinds import Kinds


def _substring(node: exp.Substring, kinds: Kinds) -> exp.Expr:
    kind = "bytes_" if kinds.of(node.this) == "BYTES" else ""
    start, size = node.args["start"], node.args.get("length")
    return (
        call(f"{kind}substr_from", node.this, start) if size is None else call(f"{kind}substr", node.this, start, size)
    )


def _format(node: exp.Format, _: Kinds) -> exp.Expr | None:
    pattern = node.this
    if not isinstance(pattern, exp.Literal) or not pattern.is_string:
        return None
    pieces = list(format_pieces(pattern.this, node.expressions))
    return call("concat", exp.Anonymous(this="list_value", expressions=pieces))


def _pad(node: exp.Pad, kinds: Kinds) -> exp.Expr | None:
    if kinds.of(node.this) == "BYTES":
        return None
    pattern = node.args.get("fill_pattern") or exp.Literal.string(" ")
    return call("lpad" if node.args.get("is_left") else "rpad", node.this, node.expression, pattern)


def _checked_count(name: str) -> Handler:
    return lambda node, _: call(name, node.this, node.expression) if node.args.get("expression") else None


def _joined(node: exp.Concat | exp.ArrayConcat, kinds: Kinds) -> exp.Expr | None:
    name = "list_concat" if isinstance(node, exp.ArrayConcat) else "join"
    items = [*([node.this] if isinstance(node, exp.ArrayConcat) else []), *node.expressions]
    if len(items) < 2:  # noqa: PLR2004  nothing to join
        return None
    result: exp.Expr = items[0]
    is_text = name == "join" and any(kinds.of(item) == "STRING" for item in items)
    for item in items[1:]:
        result = call("join_text" if is_text else name, result, item)
    return result


def _trim(node: exp.Trim, kinds: Kinds) -> exp.Expr | None:
    if node.expression is not None or kinds.of(node.this) == "BYTES":
        return None
    return call({"LEADING": "ltrim", "TRAILING": "rtrim"}.get(node.args.get("position") or "", "trim"), node.this)


def _array_to_string(node: exp.ArrayToString, _: Kinds) -> exp.Expr:
    absent = node.args.get("null")
    arguments = (node.this, node.expression)
    return call("array_to_string_with", *arguments, absent) if absent else call("array_to_string", *arguments)


def _series(node: exp.GenerateSeries, kinds: Kinds) -> exp.Expr:
    items = [node.args["start"], node.args["end"], node.args.get("step") or exp.Literal.number(1)]
    is_float = any(kinds.of(item) not in (None, INT64) for item in items)
    return call("generate_float_array" if is_float else "generate_array", *items)


def _checked_json(node: exp.Expr, _: Kinds) -> None:
    """Replace a text that is not valid JSON by NULL, in place."""
    node.this.replace(call("valid_json", node.this))


def _reversed(node: exp.Reverse, kinds: Kinds) -> exp.Expr | None:
    return call("reverse_bytes", node.this) if kinds.of(node.this) == "BYTES" else None


def _length(node: exp.Length, kinds: Kinds) -> exp.Expr | None:
    return call("byte_length", node.this) if kinds.of(node.this) == "BYTES" else None


def _concatenated(node: exp.DPipe, kinds: Kinds) -> exp.Expr | None:
    if "ARRAY" in (kinds.of(node.this), kinds.of(node.expression)):
        return call("list_concat", node.this, node.expression)
    is_text = "STRING" in (kinds.of(node.this), kinds.of(node.expression))
    return call("join_text" if is_text else "join", node.this, node.expression)


def _json(node: exp.JSONFormat, kinds: Kinds) -> exp.Expr:
    is_json = bool(node.args.get("to_json"))
    if node.args.get("options") is not None and is_json:
        return call("unsupported", "TO_JSON with stringify_wide_numbers is not supported by the local BigQuery", "")
    text = _json_text(node.this, kinds, stringify=not is_json)
    if is_json:
        return call("to_json", text)
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
        return call("concat", exp.Anonymous(this="list_value", expressions=[*pieces, exp.Literal.string("}")]))
    if kinds.of(value) == "ARRAY" and not value.find(exp.Select):
        return call("json_list", value, stringify)
    match kinds.of(value):
        case "INT64":
            text: exp.Expr = call("json_int64", value, stringify)
        case "FLOAT64":
            text = call("json_float64", value)
            text = text if stringify else call("json_point", text)
        case "STRING":
            text = call("json_text", value)
        case _:
            return call("json", value, stringify)
    return exp.Coalesce(this=text, expressions=[exp.Literal.string("null")])


def _field(item: exp.Expr) -> tuple[str, exp.Expr]:
    """Return the name and the value of a field of STRUCT(...)."""
    if isinstance(item, exp.PropertyEQ):
        return item.this.name, item.expression
    if isinstance(item, exp.Alias):
        return item.alias, item.this
    return (item.name if isinstance(item, exp.Column | exp.Dot) else ""), item


def _array(node: exp.Array, _: Kinds) -> exp.Expr | None:
    """Return `[(SELECT 1), 2]` as a call: the emulator would take it for ARRAY(SELECT 1)."""
    if len(node.expressions) == 1 or not any(isinstance(item, exp.Subquery) for item in node.expressions):
        return None
    return exp.Anonymous(this="list_value", expressions=[item.copy() for item in node.expressions])


def _element(node: exp.Bracket, kinds: Kinds) -> exp.Expr | None:
    if len(node.expressions) != 1 or kinds.of(node.this) == "STRUCT":
        return None
    (place,) = node.expressions
    offset = node.args.get("offset")
    if (isinstance(place, exp.Literal) and place.is_string) or isinstance(place, exp.Slice):
        return None
    if kinds.of(place) == "STRING" or (kinds.of(node.this) == "JSON" and kinds.of(place) != "INT64"):
        return None
    if offset is None and kinds.of(node.this) != "ARRAY":
        return call("subscript", node.this, place)  # it may be JSON
    return call("safe_element" if node.args.get("safe") else "element", node.this, place, offset or 0)


HANDLERS: dict[type[exp.Expr], Handler] = {
    exp.Substring: _substring,
    exp.Pad: _pad,
    exp.Repeat: lambda node, _: call("repeat", node.this, node.args["times"]),
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
    exp.Split: lambda node, _: call("split", node.this, node.expression),
    exp.Levenshtein: lambda node, _: call("levenshtein", node.this, node.expression),
    exp.Unicode: lambda node, _: call("unicode", node.this),
    exp.Chr: lambda node, _: call("chr", node.expressions[0]),
    exp.StrPosition: lambda node, _: (
        call("position", node, node.this, node.args["position"]) if node.args.get("position") else None
    ),
    exp.ArraySlice: lambda node, _: call("array_slice", node.this, node.args["start"], node.args["end"]),
    exp.ToCodePoints: lambda node, kinds: None if kinds.of(node.this) == "BYTES" else call("code_points", node.this),
    exp.Array: _array,
    exp.Bracket: _element,
    exp.JSONFormat: _json,
    exp.Format: _format,
}
