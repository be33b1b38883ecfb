"""What the table functions ask of a model.

Every model is a `Model`. What only some model types have is a protocol of its own; a function that needs one refuses
the models that do not offer it. `supervised.py` offers most of this for whatever predicts a label: a model type there
adds `attributions`, and what else it has.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

Vector = np.ndarray[Any, np.dtype[Any]]


@runtime_checkable
class Model(Protocol):
    """A trained model of any type."""

    @property
    def model_type(self) -> str:
        """The value of the option `model_type` it was created with, such as `LOGISTIC_REG`."""

    @property
    def label(self) -> str | None:
        """The name of the label column; None for a model without one."""

    @property
    def training_info(self) -> pa.Table:
        """A row for every iteration of the training, with the columns of ML.TRAINING_INFO."""

    @property
    def feature_info(self) -> pa.Table:
        """A row for every input column of the training, as `feature_info.describe` makes it."""

    def predict(self, rows: pa.Table, threshold: float | None = None) -> pa.Table:
        """Return the prediction columns of ML.PREDICT for every row, without those of the input.

        Raises:
            BigQueryError: `invalidQuery`, if the rows do not fit, or the model takes no threshold.
        """

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return the one row of ML.EVALUATE: on `rows`, or without any on those kept for it in training.

        Raises:
            BigQueryError: `invalidQuery`, if the rows do not fit, or the model takes no threshold.
        """


@dataclass(frozen=True)
class Scored:
    """How a classifier judges rows whose class is known.

    Attributes:
        actual: The number of the class of every row, (rows,).
        probabilities: The probability of every class, (rows, classes).
    """

    actual: Vector
    probabilities: Vector


@runtime_checkable
class Classifying(Protocol):
    """A model that predicts a class."""

    @property
    def class_labels(self) -> pa.Array:
        """The classes in ascending order; the number of a class is its position."""

    def scored(self, rows: pa.Table | None) -> Scored:
        """Return how the model judges `rows`, or without any those kept for evaluation in training."""

    def decide(self, probabilities: Vector, threshold: float | None) -> Vector:
        """Return the number of the class predicted for every row of probabilities."""


@dataclass(frozen=True)
class Explanation:
    """How much each feature column adds to the predictions for some rows.

    `baseline + attributions.sum(axis=1)` is `prediction`, but for the error of an approximation.

    Attributes:
        features: The names of the columns that the features come from.
        predicted: The predicted label of every row, of the label's type.
        probability: The probability of the predicted class, (rows,); None for a regression.
        attributions: (rows, features).
        baseline: The prediction value that the attributions are added to, (rows,).
        prediction: The prediction value, (rows,): the predicted number, or the log-odds of the predicted class.
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
        """Return the predictions for `rows` and the attributions that they are made of.

        Raises:
            BigQueryError: `invalidQuery`, if the rows do not fit, the model takes no threshold, or it has no
                approximation that is faster than exact attributions.
        """

    @property
    def global_explanation(self) -> pa.Table | None:
        """The columns of ML.GLOBAL_EXPLAIN; None if the model was trained with enable_global_explain=FALSE."""

    @property
    def class_explanation(self) -> pa.Table | None:
        """The same class by class, with the class in the first column; None also for a regression."""


@runtime_checkable
class Weighted(Protocol):
    """A linear model."""

    def weights(self, *, standardize: bool) -> pa.Table:
        """Return the columns of ML.WEIGHTS, for features as they come or for standardised ones."""


@runtime_checkable
class TreeBased(Protocol):
    """A model made of decision trees."""

    def feature_importance(self) -> pa.Table:
        """Return the columns of ML.FEATURE_IMPORTANCE: feature, and importance_weight, _gain and _cover (float64)."""


@runtime_checkable
class Clustering(Protocol):
    """A k-means model."""

    def centroids(self, *, standardize: bool) -> pa.Table:
        """Return the columns of ML.CENTROIDS, for features as they come or for standardised ones."""
