"""Model types of BigQuery ML: what CREATE MODEL accepts, and how each is trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import pyarrow as pa

from local_bigquery.errors import invalid_query
from local_bigquery.ml import model as protocols
from local_bigquery.ml.features import info as feature_info
from local_bigquery.ml.features.transform import Transform
from local_bigquery.ml.models import kmeans, linear, trees
from local_bigquery.ml.options import Option, read_options

Model = protocols.Model


@dataclass(frozen=True)
class TrainedModel:
    """What CREATE MODEL makes: a model, and how its input is made from that of a function (None: it is the same)."""

    model: Model
    transform: Transform | None = None

    @classmethod
    def transformed(cls, model: Model, transform: Transform, inputs: pa.Table) -> Self:
        """Return what CREATE MODEL with a TRANSFORM clause makes.

        Args:
            model: The model that was trained on what the clause makes of the training query.
            transform: The clause.
            inputs: The columns that features are made from: they are what ML.FEATURE_INFO describes.
        """
        instance: Any = model  # of a dataclass, which a protocol cannot say
        info = feature_info.describe(inputs, inputs.column_names)
        return cls(replace(instance, feature_info=info), transform)


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
        ModelType(
            "BOOSTED_TREE_CLASSIFIER",
            "BOOSTED_TREE_CLASSIFIER",
            trees.BOOSTED_CLASSIFIER_OPTIONS,
            trees.train_boosted_classifier,
        ),
        ModelType(
            "BOOSTED_TREE_REGRESSOR",
            "BOOSTED_TREE_REGRESSOR",
            trees.BOOSTED_REGRESSOR_OPTIONS,
            trees.train_boosted_regressor,
        ),
        ModelType(
            "RANDOM_FOREST_CLASSIFIER",
            "RANDOM_FOREST_CLASSIFIER",
            trees.FOREST_CLASSIFIER_OPTIONS,
            trees.train_forest_classifier,
        ),
        ModelType(
            "RANDOM_FOREST_REGRESSOR",
            "RANDOM_FOREST_REGRESSOR",
            trees.FOREST_REGRESSOR_OPTIONS,
            trees.train_forest_regressor,
        ),
        ModelType("KMEANS", "KMEANS", kmeans.KMEANS_OPTIONS, kmeans.train_kmeans),
    )
}

# Model types that BigQuery ML has and this has not.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create
_ELSEWHERE = {
    "ARIMA_PLUS",
    "ARIMA_PLUS_XREG",
    "AUTOENCODER",
    "AUTOML_CLASSIFIER",
    "AUTOML_REGRESSOR",
    "CONTRIBUTION_ANALYSIS",
    "DNN_CLASSIFIER",
    "DNN_LINEAR_COMBINED_CLASSIFIER",
    "DNN_LINEAR_COMBINED_REGRESSOR",
    "DNN_REGRESSOR",
    "MATRIX_FACTORIZATION",
    "ONNX",
    "PCA",
    "TENSORFLOW",
    "TENSORFLOW_LITE",
    "TRANSFORM_ONLY",
    "XGBOOST",
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
        known = "is one of BigQuery ML, but" if str(name).upper() in _ELSEWHERE else "is unknown, or"
        raise invalid_query(
            f"Model type {name!r} {known} not supported by the local BigQuery ML; "
            f"it has {', '.join(sorted(MODEL_TYPES))}"
        )
    rest = {option: value for option, value in given.items() if option != "model_type"}
    return model_type, read_options(f"model type {model_type.name}", model_type.options, rest)
