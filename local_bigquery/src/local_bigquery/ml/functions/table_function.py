"""The definition of a table function."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from local_bigquery.errors import BigQueryError, invalid_query
from local_bigquery.ml.model import Model
from local_bigquery.ml.options import Option, Reader, number

Settings = Mapping[str, Any]

probability: Reader = number(at_least=0.0, at_most=1.0)


@dataclass(frozen=True)
class TableFunction:
    """A table function.

    Attributes:
        run: computes the result from the model, the input (None if there is none) and the settings.
        input: whether it takes an input, a TABLE or a (query).
        takes: the protocol of the models that have the function.
        models: these models, for messages.
        settings: the settings that its STRUCT may contain.
        keeps_input: whether the result has the columns of the input.
        adds_input: whether `run` leaves it to the caller to append them.
    """

    run: Callable[[Any, Any, Settings], pa.Table]
    input: Literal["required", "optional", "none"] = "none"
    takes: type[Any] = object
    models: str = ""
    settings: tuple[Option, ...] = ()
    keeps_input: bool = False
    adds_input: bool = True


def not_supported(function: str, model: Model, models: str) -> BigQueryError:
    """Return the error for a function that a model's type does not have.

    Args:
        function: the name of the function.
        model: the model.
        models: the models that have the function, for the message.
    """
    return invalid_query(f"{function} is not supported for models of type {model.model_type}; it takes {models}")
