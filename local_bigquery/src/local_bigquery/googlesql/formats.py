"""FORMAT with a constant pattern, as pieces of text."""

import re
from collections.abc import Iterable, Iterator

from sqlglot import exp

from local_bigquery.googlesql.calls import call

_SPECIFIER = re.compile(r"(?P<prefix>%[-+ 0#']*\d*(?:\.\d+)?)(?P<kind>[a-zA-Z%])")


def format_pieces(pattern: str, values: Iterable[exp.Expr]) -> Iterator[exp.Expr]:
    """Yield expressions for the text between the specifiers of a pattern, and for that of the arguments."""
    remaining = iter(values)
    end = 0
    for match in _SPECIFIER.finditer(pattern):
        yield exp.Literal.string(pattern[end : match.start()])
        end = match.end()
        if match["kind"] == "%":
            yield exp.Literal.string("%")
        else:
            yield _printf(match["prefix"], match["kind"], next(remaining, None) or exp.null())
    yield exp.Literal.string(pattern[end:])


def _printf(prefix: str, kind: str, value: exp.Expr) -> exp.Expr:  # noqa: PLR0911  one case a specifier
    """Return an expression for the text of a specifier, such as `%5.2` and `f`."""
    match kind:
        case "d" | "i" if "'" in prefix:
            return call("grouped", value)
        case "d" | "i":
            return call("printf_int", f"{prefix}d", value)
        case "x" | "X" | "o":
            return call("printf_digits", prefix + kind, value)
        case "f" | "F" | "e" | "E" | "g" | "G":
            return call("printf_float", prefix + kind, value)
        case "s":
            return call("printf_text", f"{prefix}s", value)
        case "t" | "T":
            text = call("shown" if kind == "t" else "literal", value)
            return call("printf_text", f"{prefix}s", call("null_text", text))
    return call("unsupported", f"FORMAT with %{kind} is not supported by the local BigQuery", value)
