"""What a table function is made of."""

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
        run: Computes the result from the model, the input (None if there is none) and the settings.
        input: Whether it takes an input: a TABLE or a (query).
        settings: What its STRUCT may hold.
        keeps_input: Whether the result ends with the columns of the input.
    """

    run: Callable[[Model, pa.Table | None, Settings], pa.Table]
    input: Literal["required", "optional", "none"]
    settings: tuple[Option, ...] = ()
    keeps_input: bool = False


def not_offered(function: str, model: Model, models: str) -> BigQueryError:
    """Return the error for a model whose type does not offer what a function needs.

    Args:
        function: The function.
        model: The model.
        models: The models that offer it.
    """
    return invalid_query(f"{function} is not supported for models of type {model.model_type}; it takes {models}")


def needed(rows: pa.Table | None) -> pa.Table:
    """Return the input of a function that cannot do without."""
    if rows is None:
        raise TypeError("a call without the input it needs was let pass")
    return rows
