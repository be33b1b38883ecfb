"""Metrics of models, as the columns of ML.EVALUATE and as the fields of the REST API.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate
https://cloud.google.com/bigquery/docs/reference/rest/v2/models#EvaluationMetrics
"""

from collections.abc import Iterable, Mapping, Sized
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
RANKING_FIELDS = {
    "mean_average_precision": "meanAveragePrecision",
    "mean_squared_error": "meanSquaredError",
    "normalized_discounted_cumulative_gain": "normalizedDiscountedCumulativeGain",
    "average_rank": "averageRank",
}
FORECAST_FIELDS = {"log_likelihood": "logLikelihood", "AIC": "aic", "variance": "variance"}
PCA_FIELDS = {"total_explained_variance_ratio": "totalExplainedVarianceRatio"}
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


def forecast_metrics(actual: Vector, predicted: Vector) -> Metrics:
    """Return the errors of forecasts; those relative to the values are in percent, and None for values of 0.

    Args:
        actual: numbers, (times,).
        predicted: numbers, (times,).
    """
    errors, sizes = np.abs(actual - predicted), (np.abs(actual) + np.abs(predicted)) / 2
    squared = float(np.mean(errors**2))
    return {
        "mean_absolute_error": float(errors.mean()),
        "mean_squared_error": squared,
        "root_mean_squared_error": float(np.sqrt(squared)),
        "mean_absolute_percentage_error": float(np.mean(errors / np.abs(actual))) * 100 if actual.all() else None,
        "symmetric_mean_absolute_percentage_error": float(np.mean(errors / sizes)) * 100 if sizes.all() else None,
    }


def ranking_metrics(parts: Iterable[tuple[Vector, Vector]]) -> Metrics:
    """Return the metrics of rankings of all items, as the REST API's RankingMetrics describe them.

    The average rank is the mean percentile of the ranks, 0 for the first, weighted by the ratings (Hu, Koren, Volinsky:
    Collaborative Filtering for Implicit Feedback Datasets, 2008, section 5).

    Args:
        parts: ratings, 0 where a user has none for an item, and predicted preferences; both (users, items). Each user
            has a rating above 0.
    """
    users, pairs, total = 0, 0, dict.fromkeys(("precision", "error", "gain", "rank", "rating"), 0.0)
    for ratings, predicted in parts:
        ranked = np.take_along_axis(ratings, np.argsort(-predicted, axis=1, kind="stable"), axis=1)
        found = ranked > 0
        places = np.arange(1, ratings.shape[1] + 1)
        precisions = np.cumsum(found, axis=1) / places
        discounts = 1.0 / np.log2(places + 1.0)
        best = -np.sort(-ratings, axis=1)
        users, pairs = users + len(ratings), pairs + ratings.size
        total["precision"] += float(((precisions * found).sum(axis=1) / found.sum(axis=1)).sum())
        total["error"] += float((((ratings > 0) - predicted) ** 2).sum())
        total["gain"] += float(((ranked @ discounts) / (best @ discounts)).sum())
        total["rank"] += float((ranked @ (places - 1.0)).sum() / max(ratings.shape[1] - 1, 1))
        total["rating"] += float(ratings.sum())
    return {
        "mean_average_precision": total["precision"] / users,
        "mean_squared_error": total["error"] / pairs,
        "normalized_discounted_cumulative_gain": total["gain"] / users,
        "average_rank": total["rank"] / total["rating"],
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
