"""Options of CREATE MODEL and settings of ML functions: their names, valid values and defaults."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from local_bigquery.errors import invalid_query

Reader = Callable[[Any], Any]

# Documented options of BigQuery ML that are not supported, each with the advice for the error message.
_NO_TUNING = "there is no hyperparameter tuning: leave the option out, and give every hyperparameter one value"
_NO_REGISTRY = "there is no model registry: leave the option out"
_UNSUPPORTED = {
    "num_trials": _NO_TUNING,
    "max_parallel_trials": _NO_TUNING,
    "hparam_tuning_algorithm": _NO_TUNING,
    "hparam_tuning_objectives": _NO_TUNING,
    "data_split_test_fraction": _NO_TUNING,
    "model_registry": _NO_REGISTRY,
    "vertex_ai_model_id": _NO_REGISTRY,
    "vertex_ai_model_version_aliases": _NO_REGISTRY,
    "kms_key_name": "models are not encrypted: leave the option out",
    "trial_id": "there is no hyperparameter tuning: leave the option out",
    "integrated_gradients_num_steps": "it only applies to DNN models, when they are trained: leave the option out",
}


@dataclass(frozen=True)
class Option:
    """An option or setting.

    Attributes:
        name: the name in lower case.
        read: returns the checked value; raises ValueError if the value is invalid.
        default: the value if the option is not given.
    """

    name: str
    read: Reader
    default: Any = None


def read_options(owner: str, accepted: Iterable[Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the value of every accepted option: the given one, checked, or the default.

    Args:
        owner: the owner of the options for messages, such as `model type LINEAR_REG`.
        accepted: the options of the owner.
        given: the given values by option name in lower case.

    Raises:
        BigQueryError: `invalidQuery`, naming the option, if it is not accepted or its value is invalid.
    """
    by_name = {option.name: option for option in accepted}
    values = {option.name: option.default for option in by_name.values()}
    for name, value in given.items():
        if name not in by_name:
            reason = _UNSUPPORTED.get(name, f"supported are {', '.join(sorted(by_name))}")
            known = "is not supported" if name in _UNSUPPORTED else "is unknown, or not supported"
            raise invalid_query(f"Option {name!r} of {owner} {known} by the local BigQuery ML; {reason}")
        try:
            values[name] = by_name[name].read(value)
        except ValueError as error:
            raise invalid_query(f"Option {name!r} of {owner} {error}, not {value!r}") from error
    return values


def boolean(value: Any) -> bool:
    """Read TRUE or FALSE."""
    if not isinstance(value, bool):
        raise ValueError("must be TRUE or FALSE")  # noqa: TRY004  the one exception of readers
    return value


def number(
    *,
    at_least: float = -inf,
    more_than: float = -inf,
    at_most: float = inf,
    less_than: float = inf,
) -> Reader:
    """Return a reader of finite numbers within limits."""
    limits = (("of at least", at_least), ("above", more_than), ("of at most", at_most), ("below", less_than))
    stated = " and ".join(f"{word} {limit:g}" for word, limit in limits if isfinite(limit))

    def read(value: Any) -> float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        if not is_number or not (at_least <= value <= at_most and more_than < value < less_than):
            raise ValueError(f"must be a number {stated}".rstrip())
        return float(value)

    return read


def whole_number(*, at_least: int, at_most: int | None = None) -> Reader:
    """Return a reader of whole numbers within limits."""
    stated = f"of at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"

    def read(value: Any) -> int:
        is_whole = isinstance(value, int) and not isinstance(value, bool)
        if not is_whole or value < at_least or (at_most is not None and value > at_most):
            raise ValueError(f"must be a whole number {stated}")
        return int(value)

    return read


def one_of(*choices: str) -> Reader:
    """Return a reader of strings that accepts `choices`, which are in capitals, in any case."""
    return _choice(choices, "must be {}")


def only(choice: Any) -> Reader:
    """Return a reader of an option for which only one value is implemented."""

    def read(value: Any) -> Any:
        if (value.upper() if isinstance(value, str) else value) != choice:
            raise ValueError(f"can only be {choice!r} in the local BigQuery ML")
        return choice

    return read


def only_one_of(*choices: str) -> Reader:
    """Return a reader of strings of which only some of BigQuery's are implemented, `choices`, in capitals."""
    return _choice(choices, "can only be {} in the local BigQuery ML")


def _choice(choices: tuple[str, ...], message: str) -> Reader:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value.upper() not in choices:
            raise ValueError(message.format(" or ".join(map(repr, choices))))
        return value.upper()

    return read


def string(value: Any) -> str:
    """Read a string."""
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004  the one exception of readers
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
