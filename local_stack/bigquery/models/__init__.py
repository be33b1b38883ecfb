"""Model types of BigQuery ML: what CREATE MODEL accepts, and how each is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from local_stack.bigquery.errors import invalid_query
from local_stack.bigquery.models import linear
from local_stack.bigquery.models.options import Option, read_options
from local_stack.bigquery.models.supervised import Classifier, Regressor

Model = Classifier | Regressor


@dataclass(frozen=True)
class ModelType:
    """A model type.

    Attributes:
        name: The value of the option `model_type`.
        rest_name: What the REST API calls it in a model's `modelType`.
        options: The options it takes besides `model_type`.
        train: Trains it from rows and complete options.
    """

    name: str
    rest_name: str
    options: tuple[Option, ...]
    train: Callable[[pa.Table, Mapping[str, Any]], Model]


MODEL_TYPES = {
    model_type.name: model_type
    for model_type in (
        ModelType("LINEAR_REG", "LINEAR_REGRESSION", linear.LINEAR_OPTIONS, linear.train_linear),
        ModelType("LOGISTIC_REG", "LOGISTIC_REGRESSION", linear.LOGISTIC_OPTIONS, linear.train_logistic),
    )
}


def model_type_of(given: Mapping[str, Any]) -> tuple[ModelType, dict[str, Any]]:
    """Return the model type that the options of a CREATE MODEL name, and its complete, checked options.

    Raises:
        BigQueryError: `invalidQuery`, if the type is missing or unknown, or an option is unknown or wrong.
    """
    name = given.get("model_type")
    if name is None:
        raise invalid_query("CREATE MODEL needs the option model_type, such as OPTIONS(model_type='LOGISTIC_REG')")
    model_type = MODEL_TYPES.get(str(name).upper())
    if model_type is None:
        raise invalid_query(
            f"Model type {name!r} is not supported by the local BigQuery ML; it has {', '.join(sorted(MODEL_TYPES))}"
        )
    rest = {option: value for option, value in given.items() if option != "model_type"}
    return model_type, read_options(f"model type {model_type.name}", model_type.options, rest)
