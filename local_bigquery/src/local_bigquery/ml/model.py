"""The interface between model types and the rest of BigQuery ML.

A `ModelType` trains a `Model`. Every model has the methods of `Model`. A table function that needs more, such as
ML.WEIGHTS, names it by a protocol of its own, and refuses models that do not have it. `models/supervised.py` implements
most of this for models that predict a label.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import pyarrow as pa

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features import statistics
from local_bigquery.ml.features.transform import Transform
from local_bigquery.ml.options import Option

Vector = np.ndarray[Any, np.dtype[Any]]


@runtime_checkable
class Model(Protocol):
    """A trained model of any type."""

    @property
    def model_type(self) -> str:
        """The value of the option `model_type`, such as `LOGISTIC_REG`."""

    @property
    def label(self) -> str | None:
        """The name of the label column; None for a model without one."""

    @property
    def training_info(self) -> pa.Table:
        """The result of ML.TRAINING_INFO: one row for each iteration of the training."""

    @property
    def feature_info(self) -> pa.Table:
        """The result of ML.FEATURE_INFO, as `statistics.describe` makes it."""

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return the one row of ML.EVALUATE.

        Args:
            rows: the rows to evaluate; None for the evaluation rows of the training.
            threshold: the least probability of the second of two classes at which it is predicted.

        Raises:
            BigQueryError: `invalidQuery` if the rows do not fit, or the model takes no threshold.
        """

    def rest_metrics(self) -> dict[str, Any]:
        """Return the EvaluationMetrics of the REST API for the evaluation rows of the training.

        https://cloud.google.com/bigquery/docs/reference/rest/v2/models#EvaluationMetrics
        """


def refuse_threshold(threshold: float | None, model_type: str) -> None:
    """Raise a BigQueryError if there is a threshold; for models without two classes."""
    if threshold is not None:
        raise invalid_query(f"threshold can only be set for a model with two classes, not for {model_type}")


@dataclass(frozen=True)
class ModelType:
    """A model type.

    Attributes:
        name: the value of the option `model_type`.
        rest_name: the `modelType` of the REST API.
        options: the options besides `model_type`.
        train: trains a model from the rows of the training query and the complete options. It raises a BigQueryError
            with reason `invalidQuery` if the rows cannot be trained on, or options contradict each other.
        takes_transform: CREATE MODEL may have a TRANSFORM clause.
    """

    name: str
    rest_name: str
    options: tuple[Option, ...]
    train: Callable[[pa.Table, Mapping[str, Any]], Model]
    takes_transform: bool = True


@dataclass(frozen=True)
class TrainedModel:
    """The result of CREATE MODEL: a model, and the TRANSFORM clause that its input goes through, if there is one."""

    model: Model
    transform: Transform | None = None

    @classmethod
    def transformed(cls, model: Model, transform: Transform, inputs: pa.Table) -> Self:
        """Return the result of a CREATE MODEL with a TRANSFORM clause.

        Args:
            model: the model that was trained on the output of the clause.
            transform: the clause.
            inputs: the columns of the training query that features are made from. ML.FEATURE_INFO describes them.
        """
        instance: Any = model  # a dataclass, which a protocol cannot express
        info = statistics.describe(inputs, inputs.column_names)
        return cls(replace(instance, feature_info=info), transform)


@runtime_checkable
class Predicting(Protocol):
    """A model that predicts from features."""

    def predict(self, rows: pa.Table, threshold: float | None = None) -> pa.Table:
        """Return the prediction columns of ML.PREDICT for every row, without the columns of the input.

        Raises:
            BigQueryError: `invalidQuery` if the rows do not fit, or the model takes no threshold.
        """


@dataclass(frozen=True)
class Scored:
    """A classifier's probabilities for rows whose class is known.

    Attributes:
        actual: the class number of every row, (rows,).
        probabilities: the probability of every class, (rows, classes).
    """

    actual: Vector
    probabilities: Vector


@runtime_checkable
class Classifying(Protocol):
    """A model that predicts a class."""

    @property
    def class_labels(self) -> pa.Array:
        """The classes in ascending order; the position of a class is its number."""

    def scored(self, rows: pa.Table | None) -> Scored:
        """Return the probabilities for some rows, or for the evaluation rows of the training if `rows` is None."""

    def decide(self, probabilities: Vector, threshold: float | None) -> Vector:
        """Return the number of the predicted class for every row of probabilities."""


@dataclass(frozen=True)
class Explanation:
    """Predictions for some rows, and the contribution of each feature column to them.

    `baseline + attributions.sum(axis=1)` equals `prediction`, except for the error of an approximation.

    Attributes:
        features: the names of the columns that the features come from.
        predicted: the predicted label of every row, of the label's type.
        probability: the probability of the predicted class, (rows,); None for a regression.
        attributions: the contributions, (rows, features).
        baseline: the value that the attributions are added to, (rows,).
        prediction: the predicted number, or the log-odds of the predicted class, (rows,).
    """

    features: tuple[str, ...]
    predicted: pa.Array
    probability: Vector | None
    attributions: Vector
    baseline: Vector
    prediction: Vector


@runtime_checkable
class Explainable(Protocol):
    """A model whose predictions are sums of attributions to its features."""

    def explain(self, rows: pa.Table, threshold: float | None = None, *, approximate: bool = False) -> Explanation:
        """Return the predictions for some rows with their attributions.

        Raises:
            BigQueryError: `invalidQuery` if the rows do not fit, the model takes no threshold, or it has no faster
                approximation of the attributions.
        """

    @property
    def global_explanation(self) -> pa.Table | None:
        """The result of ML.GLOBAL_EXPLAIN; None if the model was trained with enable_global_explain=FALSE."""

    @property
    def class_explanation(self) -> pa.Table | None:
        """The result of ML.GLOBAL_EXPLAIN by class, the class in the first column; None for a regression, too."""


@runtime_checkable
class Weighted(Protocol):
    """A linear model or a matrix factorization."""

    def weights(self, *, standardize: bool) -> pa.Table:
        """Return the result of ML.WEIGHTS, for features in their own units or standardised."""


@runtime_checkable
class Recommending(Protocol):
    """A model that predicts the ratings of users for items."""

    def recommend(self, rows: pa.Table | None) -> pa.Table:
        """Return the result of ML.RECOMMEND.

        Args:
            rows: pairs of users and items, whose other columns are kept; or only users; or only items. None for all
                users and all items.

        Raises:
            BigQueryError: `invalidQuery` if the rows have other columns, or other types than in training.
        """


@runtime_checkable
class TreeBased(Protocol):
    """A model of decision trees."""

    def feature_importance(self) -> pa.Table:
        """Return the result of ML.FEATURE_IMPORTANCE."""


@runtime_checkable
class Clustering(Protocol):
    """A k-means model."""

    def centroids(self, *, standardize: bool) -> pa.Table:
        """Return the result of ML.CENTROIDS, for features in their own units or standardised."""


@runtime_checkable
class Reducing(Protocol):
    """A model that reduces the number of dimensions."""

    def principal_components(self) -> pa.Table:
        """Return the result of ML.PRINCIPAL_COMPONENTS."""

    def principal_component_info(self) -> pa.Table:
        """Return the result of ML.PRINCIPAL_COMPONENT_INFO."""


@runtime_checkable
class Forecasting(Protocol):
    """A model of time series."""

    def forecast(self, horizon: int | None, confidence_level: float) -> pa.Table:
        """Return the result of ML.FORECAST.

        Args:
            horizon: the number of times to forecast; None for the default.
            confidence_level: the probability that a value is in the prediction interval.

        Raises:
            BigQueryError: `invalidQuery` if the horizon is beyond that of the model.
        """

    def arima_evaluate(self, *, all_candidates: bool) -> pa.Table:
        """Return the result of ML.ARIMA_EVALUATE, with all models that were tried or the best one of each series."""

    def arima_coefficients(self) -> pa.Table:
        """Return the result of ML.ARIMA_COEFFICIENTS."""
