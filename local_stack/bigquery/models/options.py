"""Options of CREATE MODEL: which a model type takes, which values each may have, and its default."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local_stack.bigquery.errors import invalid_query

Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class Option:
    """One option: its name in lower case, how a value is read (ValueError if it is wrong), and its default."""

    name: str
    read: Reader
    default: Any = None


def read_options(owner: str, accepted: Iterable[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a value for every accepted option: the given one, checked, or the default.

    Args:
        owner: What takes the options, for messages, such as `model type LINEAR_REG`.
        accepted: The options it takes.
        given: Constants by option name in lower case.

    Raises:
        BigQueryError: `invalidQuery`, naming the option, if it is not accepted or its value is wrong.
    """
    by_name = {option.name: option for option in accepted}
    values = {option.name: option.default for option in by_name.values()}
    for name, value in given.items():
        if name not in by_name:
            raise invalid_query(
                f"Option {name!r} of {owner} is unknown, or not supported by the local BigQuery ML; "
                f"supported are {', '.join(sorted(by_name))}"
            )
        try:
            values[name] = by_name[name].read(value)
        except ValueError as error:
            raise invalid_query(f"Option {name!r} of {owner} {error}, not {value!r}") from error
    return values


def boolean(value: Any) -> bool:
    """Read TRUE or FALSE."""
    if not isinstance(value, bool):
        raise ValueError("must be TRUE or FALSE")  # noqa: TRY004 -- a reader's one way to refuse a value
    return value


def number(*, at_least: float, at_most: float = float("inf")) -> Reader:
    """Return a reader of numbers within bounds."""

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not at_least <= value <= at_most:
            bound = f"of at least {at_least:g}" if at_most == float("inf") else f"from {at_least:g} to {at_most:g}"
            raise ValueError(f"must be a number {bound}")
        return float(value)

    return read


def whole_number(*, at_least: int) -> Reader:
    """Return a reader of whole numbers."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
            raise ValueError(f"must be a whole number of at least {at_least}")
        return value

    return read


def one_of(*choices: str) -> Reader:
    """Return a reader of strings out of `choices`, which are in capitals."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value.upper() not in choices:
            raise ValueError(f"must be {' or '.join(map(repr, choices))}")
        return value.upper()

    return read


def only(choice: Any) -> Reader:
    """Return a reader of an option that only its usual value is implemented for."""

    def read(value: Any) -> Any:
        if (value.upper() if isinstance(value, str) else value) != choice:
            raise ValueError(f"can only be {choice!r} in the local BigQuery ML")
        return choice

    return read


def string(value: Any) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 -- a reader's one way to refuse a value
    return value


def one_label(value: Any) -> str:
    """Read `input_label_cols`: an array with the name of one column."""
    if not isinstance(value, list) or len(value) != 1 or not isinstance(value[0], str):
        raise ValueError("must be an array with the name of one column")
    return value[0]


def class_weights(value: Any) -> dict[Any, float]:
    """Read `class_weights`: an array of STRUCT(label, weight)."""
    try:
        weights = {label: float(weight) for label, weight in value}
    except (TypeError, ValueError):
        weights = {}
    if not weights or min(weights.values()) < 0:
        raise ValueError("must be an array of STRUCT(label, weight), no weight below 0")
    return weights
