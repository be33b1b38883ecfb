"""Metrics of models, as the columns of ML.EVALUATE and as the fields of the REST API.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate
https://cloud.google.com/bigquery/docs/reference/rest/v2/models#EvaluationMetrics
"""

from collections.abc import Mapping, Sized
from math import isfinite
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn import metrics

Vector = np.ndarray[Any, np.dtype[Any]]
Metrics = dict[str, float | None]

CLASSIFICATION_FIELDS = {
    "precision": "precision",
    "recall": "recall",
    "accuracy": "accuracy",
    "f1_score": "f1Score",
    "log_loss": "logLoss",
    "roc_auc": "rocAuc",
}
REGRESSION_FIELDS = {
    "mean_absolute_error": "meanAbsoluteError",
    "mean_squared_error": "meanSquaredError",
    "mean_squared_log_error": "meanSquaredLogError",
    "median_absolute_error": "medianAbsoluteError",
    "r2_score": "rSquared",
}
CLUSTERING_FIELDS = {"davies_bouldin_index": "daviesBouldinIndex", "mean_squared_distance": "meanSquaredDistance"}


def is_binary(classes: Sized) -> bool:
    """Return True if there are two classes, a negative and a positive one."""
    return len(classes) == 2  # noqa: PLR2004  two


def metrics_table(values: Metrics) -> pa.Table:
    """Return metrics as the one row of ML.EVALUATE."""
    return pa.table({name: pa.array([value], pa.float64()) for name, value in values.items()})


def rest_fields(table: pa.Table, fields: Mapping[str, str]) -> dict[str, float]:
    """Return the one row of ML.EVALUATE as fields of the REST API, without undefined metrics.

    Args:
        table: the result of ML.EVALUATE.
        fields: the fields of the REST API by the columns of the table.
    """
    (row,) = table.to_pylist()
    return {field: row[column] for column, field in fields.items() if is_in_json(row[column])}


def is_in_json(value: float | None) -> bool:
    """Return True if JSON can express a number: NULL, NaN and infinity are excluded."""
    return value is not None and isfinite(value)


def classification_metrics(actual: Vector, predicted: Vector, probabilities: Vector) -> Metrics:
    """Return the metrics of a classifier.

    With two classes, precision, recall and F1 are those of the second class, and precision is NaN if that class is
    never predicted. With more classes, they are averages over the classes that occur. ROC AUC is None if the actual
    labels contain only one class.

    Args:
        actual: class numbers, (rows,).
        predicted: class numbers, (rows,).
        probabilities: the probability of every class, (rows, classes).
    """
    classes = np.arange(probabilities.shape[1])
    average: dict[str, Any] = {"zero_division": 0.0}
    undefined_precision = 0.0
    if is_binary(classes):
        average |= {"average": "binary", "pos_label": 1, "labels": classes}
        undefined_precision = float("nan")
    else:
        average |= {"average": "macro"}
    return {
        "precision": float(
            metrics.precision_score(actual, predicted, **average | {"zero_division": undefined_precision})
        ),
        "recall": float(metrics.recall_score(actual, predicted, **average)),
        "accuracy": float(metrics.accuracy_score(actual, predicted)),
        "f1_score": float(metrics.f1_score(actual, predicted, **average)),
        "log_loss": float(metrics.log_loss(actual, probabilities, labels=classes)),
        "roc_auc": _roc_auc(actual, probabilities),
    }


def regression_metrics(actual: Vector, predicted: Vector) -> Metrics:
    """Return the metrics of a regression.

    `mean_squared_log_error` is None if a value is -1 or less, `r2_score` if there is only one row. Of an even number of
    rows, `median_absolute_error` is the lower middle error, as BigQuery's recorded answers show.

    Args:
        actual: numbers, (rows,).
        predicted: numbers, (rows,).
    """
    logarithm_exists = min(actual.min(), predicted.min()) > -1
    return {
        "mean_absolute_error": float(metrics.mean_absolute_error(actual, predicted)),
        "mean_squared_error": float(metrics.mean_squared_error(actual, predicted)),
        "mean_squared_log_error": (
            float(np.mean((np.log1p(actual) - np.log1p(predicted)) ** 2)) if logarithm_exists else None
        ),
        "median_absolute_error": float(np.quantile(np.abs(actual - predicted), 0.5, method="inverted_cdf")),
        "r2_score": float(metrics.r2_score(actual, predicted)) if len(actual) > 1 else None,
        "explained_variance": float(metrics.explained_variance_score(actual, predicted)),
    }


def _roc_auc(actual: Vector, probabilities: Vector) -> float | None:
    """Return the area under the ROC curve; with more than two classes, the mean of one class against the rest."""
    classes = np.arange(probabilities.shape[1])
    areas = [
        float(metrics.roc_auc_score(actual == positive, probabilities[:, positive]))
        for positive in (classes[1:] if is_binary(classes) else classes)
        if 0 < np.count_nonzero(actual == positive) < len(actual)
    ]
    return sum(areas) / len(areas) if areas else None
