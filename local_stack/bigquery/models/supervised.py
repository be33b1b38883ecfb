"""Trained models that predict a label: a classifier and a regressor, whatever estimator is inside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from local_stack.bigquery.errors import invalid_query
from local_stack.bigquery.models.features import FeatureEncoder, is_numeric
from local_stack.bigquery.models.metrics import Metrics, classification_metrics, regression_metrics
from local_stack.bigquery.models.training_data import TrainingData, find_column

Vector = np.ndarray[Any, np.dtype[Any]]

# Labels can have up to 50 values in BigQuery ML.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create
_MOST_CLASSES = 50
_BINARY = 2


@dataclass(frozen=True)
class Classes:
    """The values of a label, sorted; a class number is a position in them."""

    label: str
    values: pa.Array

    @classmethod
    def of(cls, label: str, column: pa.ChunkedArray) -> Classes:
        """Return the values that occur in a column without NULL."""
        values = pc.unique(column)
        if not 1 < len(values) <= _MOST_CLASSES:
            raise invalid_query(
                f"The label column {label!r} has {len(values)} distinct values in the training rows; "
                f"a classification needs 2 to {_MOST_CLASSES}"
            )
        return cls(label, values.take(pc.sort_indices(values)))

    def numbers(self, rows: pa.Table) -> Vector:
        """Return the class number of every row.

        Raises:
            BigQueryError: `invalidQuery`, if the label is missing, NULL, or a value not seen in training.
        """
        column = label_column(rows, self.label)
        try:
            numbers = pc.index_in(column.cast(self.values.type), value_set=self.values)
        except pa.ArrowInvalid as error:
            raise invalid_query(
                f"The label column {self.label!r} is {column.type}, but was {self.values.type} in training"
            ) from error
        if numbers.null_count:
            unknown = pc.unique(column.filter(pc.is_null(numbers))).slice(0, 3).to_pylist()
            raise invalid_query(
                f"The label column {self.label!r} has values that were not seen in training, such as {unknown}"
            )
        return np.asarray(numbers)


@dataclass(frozen=True)
class Classifier:
    """Predicts one of two or more classes.

    `estimator` is a fitted scikit-learn classifier over class numbers; `evaluation` the metrics on the rows that
    were evaluated at the end of training.
    """

    encoder: FeatureEncoder
    classes: Classes
    estimator: Any
    evaluation: Metrics | None = None

    @property
    def label(self) -> str:
        """The name of the label column."""
        return self.classes.label

    def predict(self, rows: pa.Table, threshold: float | None = None) -> pa.Table:
        """Return `predicted_<label>` and `predicted_<label>_probs` for every row.

        Args:
            rows: The input; it has the feature columns.
            threshold: The least probability of the second class at which it is predicted, for two classes.
        """
        probabilities = self._probabilities(rows)
        predicted = self._decide(probabilities, threshold)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        count, width = probabilities.shape
        entries = pa.StructArray.from_arrays(
            [
                self.classes.values.take(pa.array(order.ravel())),
                pa.array(np.take_along_axis(probabilities, order, axis=1).ravel()),
            ],
            names=["label", "prob"],
        )
        offsets = pa.array(np.arange(0, (count + 1) * width, width, dtype=np.int32))
        name = f"predicted_{self.label}"
        return pa.table(
            {
                name: self.classes.values.take(pa.array(predicted)),
                f"{name}_probs": pa.ListArray.from_arrays(offsets, entries),
            }
        )

    def evaluate(self, rows: pa.Table, threshold: float | None = None) -> Metrics:
        """Return the metrics on rows that have the feature columns and the label."""
        actual = self.classes.numbers(rows)
        probabilities = self._probabilities(rows)
        return classification_metrics(actual, self._decide(probabilities, threshold), probabilities)

    def _probabilities(self, rows: pa.Table) -> Vector:
        matrix = self.encoder.encode(rows)
        if rows.num_rows == 0:
            return np.empty((0, len(self.classes.values)))
        return np.asarray(self.estimator.predict_proba(matrix))

    def _decide(self, probabilities: Vector, threshold: float | None) -> Vector:
        if threshold is None:
            return np.asarray(probabilities.argmax(axis=1))
        if len(self.classes.values) != _BINARY:
            raise invalid_query("threshold can only be set for a model with two classes")
        return np.asarray(probabilities[:, 1] >= threshold, dtype=np.int64)


@dataclass(frozen=True)
class Regressor:
    """Predicts a number; `estimator` is a fitted scikit-learn regressor, `evaluation` as in `Classifier`."""

    encoder: FeatureEncoder
    label: str
    estimator: Any
    evaluation: Metrics | None = None

    def predict(self, rows: pa.Table, threshold: float | None = None) -> pa.Table:
        """Return `predicted_<label>` for every row."""
        _refuse_threshold(threshold)
        return pa.table({f"predicted_{self.label}": self._numbers(rows)})

    def evaluate(self, rows: pa.Table, threshold: float | None = None) -> Metrics:
        """Return the metrics on rows that have the feature columns and the label."""
        _refuse_threshold(threshold)
        return regression_metrics(label_numbers(rows, self.label), self._numbers(rows))

    def _numbers(self, rows: pa.Table) -> Vector:
        matrix = self.encoder.encode(rows)
        return np.asarray(self.estimator.predict(matrix)) if rows.num_rows else np.empty(0)


def evaluation_rows(data: TrainingData, classes: Classes | None = None) -> pa.Table:
    """Return the rows that a new model is evaluated on: those held out, or all if there was no split.

    Held-out rows with a class that no training row has are left out.
    """
    held_out = data.evaluation
    if classes is not None:
        held_out = held_out.filter(pc.is_in(held_out[data.label], value_set=classes.values))
    return held_out if held_out.num_rows else data.training


def label_column(rows: pa.Table, label: str) -> pa.ChunkedArray:
    """Return the label of every row.

    Raises:
        BigQueryError: `invalidQuery`, if there are no rows, the column is missing, or it contains NULL.
    """
    name = find_column(rows, label)
    if name is None:
        raise invalid_query(
            f"The label column {label!r} is missing in the input, which has {', '.join(rows.column_names)}"
        )
    if rows.num_rows == 0:
        raise invalid_query("There are no rows to evaluate: the input is empty")
    if rows[name].null_count:
        raise invalid_query(f"The label column {label!r} contains {rows[name].null_count} NULL values")
    return rows[name]


def label_numbers(rows: pa.Table, label: str) -> Vector:
    """Return the label of every row as float64.

    Raises:
        BigQueryError: `invalidQuery`, as `label_column`, or if the label is not a finite number.
    """
    column = label_column(rows, label)
    if not is_numeric(column.type):
        raise invalid_query(f"The label column {label!r} of a regression must be a number, not {column.type}")
    values: Vector = column.cast(pa.float64()).to_numpy()
    if not np.isfinite(values).all():
        raise invalid_query(f"The label column {label!r} contains NaN or infinity")
    return values


def _refuse_threshold(threshold: float | None) -> None:
    if threshold is not None:
        raise invalid_query("threshold can only be set for a model with two classes, not for a regression")
