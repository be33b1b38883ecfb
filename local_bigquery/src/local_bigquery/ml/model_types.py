"""The model types that CREATE MODEL accepts."""

from collections.abc import Mapping
from typing import Any

from local_bigquery.errors import invalid_query
from local_bigquery.ml.model import ModelType
from local_bigquery.ml.models import dnn, factorization, forecasting, kmeans, linear, pca, trees
from local_bigquery.ml.options import read_options

MODEL_TYPES = {
    model_type.name: model_type
    for model_type in (
        linear.LINEAR_REG,
        linear.LOGISTIC_REG,
        trees.BOOSTED_TREE_CLASSIFIER,
        trees.BOOSTED_TREE_REGRESSOR,
        trees.RANDOM_FOREST_CLASSIFIER,
        trees.RANDOM_FOREST_REGRESSOR,
        dnn.DNN_CLASSIFIER,
        dnn.DNN_REGRESSOR,
        kmeans.KMEANS,
        factorization.MATRIX_FACTORIZATION,
        pca.PCA,
        forecasting.ARIMA_PLUS,
    )
}

# The model types of BigQuery ML that are not supported here.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create
_UNSUPPORTED = {
    "ARIMA_PLUS_XREG",
    "AUTOENCODER",
    "AUTOML_CLASSIFIER",
    "AUTOML_REGRESSOR",
    "CONTRIBUTION_ANALYSIS",
    "DNN_LINEAR_COMBINED_CLASSIFIER",
    "DNN_LINEAR_COMBINED_REGRESSOR",
    "ONNX",
    "TENSORFLOW",
    "TENSORFLOW_LITE",
    "TRANSFORM_ONLY",
    "XGBOOST",
}


def model_type_of(given: Mapping[str, Any]) -> tuple[ModelType, dict[str, Any]]:
    """Return the model type that the options of a CREATE MODEL name, and its options, checked and with defaults.

    Raises:
        BigQueryError: `invalidQuery` if the type is missing or unknown, or an option is unknown or invalid.
    """
    name = given.get("model_type")
    if name is None:
        raise invalid_query("CREATE MODEL needs the option model_type, such as OPTIONS(model_type='LOGISTIC_REG')")
    model_type = MODEL_TYPES.get(str(name).upper())
    if model_type is None:
        known = "is one of BigQuery ML, but" if str(name).upper() in _UNSUPPORTED else "is unknown, or"
        raise invalid_query(
            f"Model type {name!r} {known} not supported by the local BigQuery ML; "
            f"it has {', '.join(sorted(MODEL_TYPES))}"
        )
    rest = {option: value for option, value in given.items() if option != "model_type"}
    return model_type, read_options(f"model type {model_type.name}", model_type.options, rest)
