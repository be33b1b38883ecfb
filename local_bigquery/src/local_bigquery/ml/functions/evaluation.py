"""ML.EVALUATE, ML.ROC_CURVE and ML.CONFUSION_MATRIX: the quality of a model on rows with a label.

Without an input, these are the rows held out in training, or all training rows if there was no split.
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-roc
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-confusion
"""

import re
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.metrics import confusion_matrix

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.training_data import find_column
from local_bigquery.ml.functions.table_function import Settings, TableFunction, probability
from local_bigquery.ml.metrics import is_binary
from local_bigquery.ml.model import Classifying, Forecasting, Model, Vector
from local_bigquery.ml.options import Option, only

_BINARY = "classification models with two classes"
_PERCENTILES = np.linspace(0.0, 1.0, 101)


def _evaluate(model: Model, rows: pa.Table | None, settings: Settings) -> pa.Table:
    _check_threshold("ML.EVALUATE", rows, settings)
    if settings["perform_aggregation"] is not None and not isinstance(model, Forecasting):
        raise invalid_query("Option 'perform_aggregation' of ML.EVALUATE only applies to ARIMA_PLUS models")
    return model.evaluate(rows, settings["threshold"])


def _roc_curve(model: Any, rows: pa.Table | None, settings: Settings) -> pa.Table:
    """Return one row for every threshold, from the highest to the lowest."""
    if not is_binary(model.class_labels):
        raise invalid_query(
            f"ML.ROC_CURVE takes {_BINARY}; this {model.model_type} has {len(model.class_labels)} classes"
        )
    scored = model.scored(rows)
    scores, is_positive = scored.probabilities[:, 1], scored.actual == 1
    thresholds = settings["thresholds"]
    if thresholds is None:
        thresholds = np.quantile(scores, _PERCENTILES, method="inverted_cdf")
    thresholds = np.unique(np.asarray(thresholds, dtype=np.float64))[::-1]
    true_positives = _at_least(scores[is_positive], thresholds)
    false_positives = _at_least(scores[~is_positive], thresholds)
    positives, negatives = int(is_positive.sum()), int((~is_positive).sum())
    return pa.table(
        {
            "threshold": thresholds,
            "recall": _share(true_positives, positives),
            "false_positive_rate": _share(false_positives, negatives),
            "true_positives": true_positives,
            "false_positives": false_positives,
            "true_negatives": negatives - false_positives,
            "false_negatives": positives - true_positives,
        }
    )


def _confusion_matrix(model: Any, rows: pa.Table | None, settings: Settings) -> pa.Table:
    """Return one row for every class that occurs, with the counts of the classes predicted for it."""
    _check_threshold("ML.CONFUSION_MATRIX", rows, settings)
    scored = model.scored(rows)
    predicted = model.decide(scored.probabilities, settings["threshold"])
    labels = model.class_labels
    counts = confusion_matrix(scored.actual, predicted, labels=np.arange(len(labels)))
    occurring = np.unique(scored.actual)
    expected = labels.take(pa.array(occurring))
    if rows is not None and (column := find_column(rows, str(model.label))) is not None:
        expected = expected.cast(rows[column].type)
    names = _column_names(["expected_label", *labels.cast(pa.string()).to_pylist()])
    return pa.Table.from_arrays([expected, *(pa.array(column) for column in counts[occurring].T)], names=names)


def _check_threshold(function: str, rows: pa.Table | None, settings: Settings) -> None:
    if rows is None and settings["threshold"] is not None:
        raise invalid_query(f"{function}: a threshold needs an input to evaluate")


def _at_least(scores: Vector, thresholds: Vector) -> Vector:
    """Return the number of scores that reach each threshold."""
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left"), dtype=np.int64)


def _share(counts: Vector, total: int) -> pa.Array:
    return pa.array(counts / total if total else [None] * len(counts), pa.float64())


def _column_names(names: Iterable[str]) -> list[str]:
    """Return valid and distinct column names: letters, digits and `_`, not beginning with a digit.

    https://cloud.google.com/bigquery/docs/schemas#column_names
    """
    result: list[str] = []
    taken: set[str] = set()
    for name in names:
        allowed = re.sub(r"\W", "_", name, flags=re.ASCII)
        allowed = f"_{allowed}" if not allowed or allowed[0].isdigit() else allowed
        candidate, number = allowed, 0
        while candidate.lower() in taken:
            number += 1
            candidate = f"{allowed}_{number}"
        taken.add(candidate.lower())
        result.append(candidate)
    return result


def _probabilities(value: Any) -> list[float]:
    if not isinstance(value, list) or not value:
        raise ValueError("must be an array of numbers, such as GENERATE_ARRAY(0.4, 0.6, 0.01)")
    return [float(probability(item)) for item in value]


_THRESHOLD = Option("threshold", probability)
FUNCTIONS = {
    "EVALUATE": TableFunction(
        _evaluate,
        input="optional",
        settings=(_THRESHOLD, Option("perform_aggregation", only(choice=True))),
    ),
    "ROC_CURVE": TableFunction(
        _roc_curve,
        input="optional",
        takes=Classifying,
        models=_BINARY,
        settings=(Option("thresholds", _probabilities),),
    ),
    "CONFUSION_MATRIX": TableFunction(
        _confusion_matrix,
        input="optional",
        takes=Classifying,
        models="classification models",
        settings=(_THRESHOLD,),
    ),
}
