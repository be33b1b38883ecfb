"""FORMAT with a constant pattern, as pieces of text."""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from sqlglot import exp

_SPECIFIER = re.compile(r"%(?P<flags>[-+ 0#']*)(?P<width>\d*)(?P<precision>\.\d+)?(?P<kind>[a-zA-Z%])")


class Piece(NamedTuple):
    """A specifier of a pattern and its argument."""

    flags: str
    width: str
    precision: str
    kind: str
    value: exp.Expr


def format_pieces(pattern: str, values: list[exp.Expr]) -> Iterator[str | Piece]:
    """Yield the text between the specifiers of a pattern, and the specifiers with their arguments."""
    remaining = iter(values)
    end = 0
    for match in _SPECIFIER.finditer(pattern):
        if match.start() > end:
            yield pattern[end : match.start()]
        end = match.end()
        if match["kind"] == "%":
            yield "%"
            continue
        value = next(remaining, None) or exp.null()
        yield Piece(match["flags"], match["width"], match["precision"] or "", match["kind"], value)
    if end < len(pattern):
        yield pattern[end:]


def printf(piece: Piece, call: Callable[..., exp.Expr]) -> exp.Expr:  # noqa: PLR0911  one case a specifier
    """Return an expression for the text of a specifier."""
    flags, width, precision, kind, value = piece
    pattern = f"%{flags}{width}{precision}{kind}"
    match kind:
        case "d" | "i" if "'" in flags:
            return call("grouped", value)
        case "d" | "i":
            return call("printf_int", pattern.replace("i", "d"), value)
        case "x" | "X" | "o":
            return call("printf_digits", pattern, value)
        case "f" | "F" | "e" | "E" | "g" | "G":
            return call("printf_float", pattern, value)
        case "s":
            return call("printf_text", f"%{flags}{width}{precision}s", value)
        case "t":
            return call("printf_text", f"%{flags}{width}{precision}s", call("null_text", call("shown", value)))
        case "T":
            return call("printf_text", f"%{flags}{width}{precision}s", call("null_text", call("literal", value)))
    return call("unsupported", f"FORMAT with %{kind} is not supported by the local BigQuery", value)
