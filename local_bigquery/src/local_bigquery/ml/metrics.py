"""The metrics that ML.EVALUATE returns.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate
"""

from typing import Any

import numpy as np
import pyarrow as pa
from sklearn import metrics

Vector = np.ndarray[Any, np.dtype[Any]]
Metrics = dict[str, float | None]

_BINARY = 2


def metrics_table(values: Metrics) -> pa.Table:
    """Return metrics as the one row of ML.EVALUATE."""
    return pa.table({name: pa.array([value], pa.float64()) for name, value in values.items()})


def classification_metrics(actual: Vector, predicted: Vector, probabilities: Vector) -> Metrics:
    """Return the metrics of a classifier.

    Precision, recall and F1 are those of the second class when there are two, and averages over the classes that occur
    when there are more. Precision is NaN when the second of two classes is never predicted. ROC AUC is None when the
    actual labels hold one class only.

    Args:
        actual: Class numbers, (rows,).
        predicted: Class numbers, (rows,).
        probabilities: (rows, classes).
    """
    classes = np.arange(probabilities.shape[1])
    average: dict[str, Any] = {"zero_division": 0.0}
    undefined_precision = 0.0
    if len(classes) == _BINARY:
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
    """Return the metrics of a regression; `mean_squared_log_error` is None where a logarithm does not exist."""
    logarithm_exists = min(actual.min(), predicted.min()) > -1
    return {
        "mean_absolute_error": float(metrics.mean_absolute_error(actual, predicted)),
        "mean_squared_error": float(metrics.mean_squared_error(actual, predicted)),
        "mean_squared_log_error": (
            float(np.mean((np.log1p(actual) - np.log1p(predicted)) ** 2)) if logarithm_exists else None
        ),
        "median_absolute_error": float(metrics.median_absolute_error(actual, predicted)),
        "r2_score": float(metrics.r2_score(actual, predicted)) if len(actual) > 1 else None,
        "explained_variance": float(metrics.explained_variance_score(actual, predicted)),
    }


def _roc_auc(actual: Vector, probabilities: Vector) -> float | None:
    """Return the area under the ROC curve; over several classes, the average of each against the rest."""
    number_of_classes = probabilities.shape[1]
    positives = [1] if number_of_classes == _BINARY else range(number_of_classes)
    areas = [
        float(metrics.roc_auc_score(actual == positive, probabilities[:, positive]))
        for positive in positives
        if 0 < np.count_nonzero(actual == positive) < len(actual)
    ]
    return sum(areas) / len(areas) if areas else None
