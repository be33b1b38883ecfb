"""Trained models that predict a label: a classifier and a regressor around any estimator.

A family of model types subclasses `Supervised` to implement `attributions` and the protocols of `model.py` that it
offers. Its classifier and its regressor inherit from that class and from `Classifier` or `Regressor`. Every training
ends with `complete`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import FeatureEncoder, Matrix, as_float64, is_numeric, struct_lists
from local_bigquery.ml.features.training_data import TrainingData, find_column
from local_bigquery.ml.metrics import (
    CLASSIFICATION_FIELDS,
    REGRESSION_FIELDS,
    classification_metrics,
    is_binary,
    metrics_table,
    regression_metrics,
    rest_fields,
)
from local_bigquery.ml.model import Explanation, Scored, Vector, refuse_threshold

# The maximum number of values of a label.
# https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create
_MAX_CLASSES = 50
_MAX_FEATURES_OF_A_CLASS = 10
_BATCH_ROWS = 10_000  # rows whose attributions are in memory at a time
_DEFAULT_THRESHOLD = 0.5

Completed = TypeVar("Completed", bound="Classifier | Regressor")


@dataclass(frozen=True)
class Classes:
    """The values of a label, sorted; a class number is a position in them."""

    label: str
    values: pa.Array

    @classmethod
    def of(cls, label: str, column: pa.ChunkedArray) -> Self:
        """Return the values of a label column, which has no NULL.

        Raises:
            BigQueryError: `invalidQuery` if the type cannot be a label, or there are too few or too many values.
        """
        if pa.types.is_nested(column.type):
            raise invalid_query(
                f"The label column {label!r} is of type {column.type}; a classification needs numbers, strings or BOOLs"
            )
        values = pc.unique(column)
        if not 1 < len(values) <= _MAX_CLASSES:
            raise invalid_query(
                f"The label column {label!r} has {len(values)} distinct values in the training rows; "
                f"a classification needs 2 to {_MAX_CLASSES}"
            )
        return cls(label, values.take(pc.sort_indices(values)))

    @property
    def are_binary(self) -> bool:
        """True if there are two classes, a negative and a positive one."""
        return is_binary(self.values)

    def numbers(self, rows: pa.Table) -> Vector:
        """Return the class number of every row.

        Raises:
            BigQueryError: `invalidQuery` if the label is missing, NULL, or a value that training has not seen.
        """
        column = label_column(rows, self.label)
        try:
            numbers = pc.index_in(column.cast(self.values.type), value_set=self.values)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise invalid_query(
                f"The label column {self.label!r} is {column.type}, but was {self.values.type} in training"
            ) from error
        if numbers.null_count:
            unknown = pc.unique(column.filter(pc.is_null(numbers))).slice(0, 3).to_pylist()
            raise invalid_query(
                f"The label column {self.label!r} has values that were not seen in training, such as {unknown}"
            )
        return np.asarray(numbers)


@dataclass(frozen=True, kw_only=True)
class Supervised(ABC):
    """The common part of classifiers and regressors.

    Attributes:
        model_type: the value of the option `model_type`.
        encoder: encodes rows as a matrix.
        estimator: predicts from a matrix, with the methods of scikit-learn's estimators.
        training_info: see `model.Model`.
        feature_info: see `model.Model`.
        importance: the mean absolute attributions over the evaluation rows, (raw predictions, `columns`); None without
            `enable_global_explain`.
    """

    model_type: str
    encoder: FeatureEncoder
    estimator: Any
    training_info: pa.Table
    feature_info: pa.Table
    importance: Vector | None = None

    @abstractmethod
    def attributions(self, matrix: Matrix, *, approximate: bool = False) -> tuple[Vector, Vector]:
        """Return the attributions of the feature columns to the raw predictions of every row, and the baseline.

        A regression has one raw prediction, the number. With two classes there is one, the log-odds of the second
        class. With more classes there is one for each class, its log-odds.

        Args:
            matrix: the encoded rows, at least one.
            approximate: whether faster approximations are requested.

        Returns:
            The attributions, (rows, raw predictions, `columns`), and the baseline that they are added to, (raw
            predictions,).

        Raises:
            BigQueryError: `invalidQuery` if an approximation is requested and there is none.
        """

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the features come from."""
        return tuple(dict.fromkeys(feature.column for feature in self.encoder.features))

    def by_column(self, values: Vector) -> Vector:
        """Return the sums of values of the encoded columns, (..., encoded columns), by column, (..., `columns`)."""
        totals = np.zeros((*values.shape[:-1], len(self.columns)))
        for feature, span in self.encoder.spans():
            totals[..., self.columns.index(feature.column)] += values[..., span].sum(axis=-1)
        return totals

    @property
    def global_explanation(self) -> pa.Table | None:
        """See `model.Explainable`; the greatest attribution comes first."""
        if self.importance is None:
            return None
        attribution = self.importance.mean(axis=0)
        order = np.argsort(-attribution, kind="stable")
        return pa.table({"feature": np.array(self.columns)[order], "attribution": attribution[order]})

    def mean_attributions(self, rows: pa.Table, *, approximate: bool) -> Vector:
        """Return the mean absolute attributions over some rows, (raw predictions, `columns`)."""
        total: Any = 0.0
        for start in range(0, rows.num_rows, _BATCH_ROWS):
            matrix = self.encoder.encode(rows.slice(start, _BATCH_ROWS))
            values, _ = self.attributions(matrix, approximate=approximate)
            total += np.abs(values).sum(axis=0)
        return np.asarray(total / rows.num_rows)


@dataclass(frozen=True, kw_only=True)
class Classifier(Supervised):
    """A model that predicts one of two or more classes.

    `estimator` has `predict_proba` for class numbers. `kept` are the probabilities for the evaluation rows.
    """

    classes: Classes
    kept: Scored | None = None

    @property
    def label(self) -> str:
        """The name of the label column."""
        return self.classes.label

    @property
    def class_labels(self) -> pa.Array:
        """The classes in ascending order."""
        return self.classes.values

    def predict(self, rows: pa.Table, threshold: float | None = None) -> pa.Table:
        """Return `predicted_<label>` and `predicted_<label>_probs` for every row.

        The probabilities are in descending order of the classes, as in BigQuery: 1 or TRUE comes first.
        """
        probabilities = self._probabilities(self.encoder.encode(rows))
        predicted = self.decide(probabilities, threshold)
        count, width = probabilities.shape
        descending = np.arange(width)[::-1]
        labels = self.classes.values.take(pa.array(np.tile(descending, count)))
        probs = struct_lists(width, label=labels, prob=pa.array(probabilities[:, descending].ravel()))
        name = f"predicted_{self.label}"
        return pa.table({name: self.classes.values.take(pa.array(predicted)), f"{name}_probs": probs})

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return the metrics for rows with a label, or for the evaluation rows."""
        scored = self.scored(rows)
        return metrics_table(
            classification_metrics(scored.actual, self.decide(scored.probabilities, threshold), scored.probabilities)
        )

    def rest_metrics(self) -> dict[str, Any]:
        """See `model.Model`."""
        aggregate: dict[str, Any] = rest_fields(self.evaluate(None), CLASSIFICATION_FIELDS)
        if not self.classes.are_binary:
            return {"multiClassClassificationMetrics": {"aggregateClassificationMetrics": aggregate}}
        negative, positive = (str(label) for label in self.class_labels.to_pylist())
        return {
            "binaryClassificationMetrics": {
                "aggregateClassificationMetrics": {**aggregate, "threshold": _DEFAULT_THRESHOLD},
                "negativeLabel": negative,
                "positiveLabel": positive,
            }
        }

    def scored(self, rows: pa.Table | None) -> Scored:
        """Return the probabilities for rows with a label, or for the evaluation rows."""
        if rows is not None:
            return Scored(self.classes.numbers(rows), self._probabilities(self.encoder.encode(rows)))
        if self.kept is None:
            raise TypeError("the model is incomplete: its training did not end with `complete`")
        return self.kept

    def decide(self, probabilities: Vector, threshold: float | None) -> Vector:
        """Return the number of the class predicted for every row of probabilities."""
        if threshold is None:
            return np.asarray(probabilities.argmax(axis=1))
        if not self.classes.are_binary:
            raise invalid_query("threshold can only be set for a model with two classes")
        return np.asarray(probabilities[:, 1] >= threshold, dtype=np.int64)

    def explain(self, rows: pa.Table, threshold: float | None = None, *, approximate: bool = False) -> Explanation:
        """Return the predicted classes, and the attributions to their log-odds."""
        matrix = self.encoder.encode(rows)
        probabilities = self._probabilities(matrix)
        predicted = self.decide(probabilities, threshold)
        every = np.arange(rows.num_rows)
        if rows.num_rows == 0:
            values, baseline = np.empty((0, len(self.columns))), np.empty(0)
        elif self.classes.are_binary:
            values, baseline = self.attributions(matrix, approximate=approximate)
            sign = np.where(predicted == 1, 1.0, -1.0)
            values, baseline = values[:, 0] * sign[:, np.newaxis], baseline[0] * sign
        else:
            values, baseline = self.attributions(matrix, approximate=approximate)
            values, baseline = values[every, predicted], baseline[predicted]
        return Explanation(
            features=self.columns,
            predicted=self.classes.values.take(pa.array(predicted)),
            probability=probabilities[every, predicted],
            attributions=values,
            baseline=baseline,
            prediction=baseline + values.sum(axis=1),
        )

    @property
    def class_explanation(self) -> pa.Table | None:
        """See `model.Explainable`; each class has its ten greatest attributions."""
        if self.importance is None:
            return None
        importance = np.broadcast_to(self.importance, (len(self.classes.values), len(self.columns)))
        order = np.argsort(-importance, axis=1, kind="stable")[:, :_MAX_FEATURES_OF_A_CLASS]
        class_numbers = np.repeat(np.arange(len(importance)), order.shape[1])
        return pa.table(
            {
                self.label: self.classes.values.take(pa.array(class_numbers)).cast(pa.string()),
                "feature": np.array(self.columns)[order.ravel()],
                "attribution": np.take_along_axis(importance, order, axis=1).ravel(),
            }
        )

    def _probabilities(self, matrix: Matrix) -> Vector:
        if matrix.shape[0] == 0:
            return np.empty((0, len(self.classes.values)))
        return np.asarray(self.estimator.predict_proba(matrix), dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Regressor(Supervised):
    """A model that predicts a number.

    `estimator` has `predict`. `kept` are the actual and the predicted numbers of the evaluation rows.
    """

    label: str
    kept: tuple[Vector, Vector] | None = None

    def predict(self, rows: pa.Table, threshold: float | None = None) -> pa.Table:
        """Return `predicted_<label>` for every row."""
        refuse_threshold(threshold, self.model_type)
        return pa.table({f"predicted_{self.label}": self._numbers(self.encoder.encode(rows))})

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return the metrics for rows with a label, or for the evaluation rows."""
        refuse_threshold(threshold, self.model_type)
        actual, predicted = self.scored(rows)
        return metrics_table(regression_metrics(actual, predicted))

    def rest_metrics(self) -> dict[str, Any]:
        """See `model.Model`."""
        return {"regressionMetrics": rest_fields(self.evaluate(None), REGRESSION_FIELDS)}

    def scored(self, rows: pa.Table | None) -> tuple[Vector, Vector]:
        """Return the actual and the predicted numbers of rows with a label, or of the evaluation rows."""
        if rows is not None:
            return label_numbers(rows, self.label), self._numbers(self.encoder.encode(rows))
        if self.kept is None:
            raise TypeError("the model is incomplete: its training did not end with `complete`")
        return self.kept

    def explain(self, rows: pa.Table, threshold: float | None = None, *, approximate: bool = False) -> Explanation:
        """Return the predicted numbers, and the attributions to them."""
        refuse_threshold(threshold, self.model_type)
        matrix = self.encoder.encode(rows)
        predicted = self._numbers(matrix)
        values, baseline = np.empty((0, 1, len(self.columns))), np.zeros(1)
        if rows.num_rows:
            values, baseline = self.attributions(matrix, approximate=approximate)
        return Explanation(
            features=self.columns,
            predicted=pa.array(predicted),
            probability=None,
            attributions=values[:, 0],
            baseline=np.repeat(baseline, rows.num_rows),
            prediction=predicted,
        )

    @property
    def class_explanation(self) -> None:
        """None, because a regression has no classes."""

    def _numbers(self, matrix: Matrix) -> Vector:
        if matrix.shape[0] == 0:
            return np.empty(0)
        return np.asarray(self.estimator.predict(matrix), dtype=np.float64)


def complete(
    model: Completed, data: TrainingData, options: Mapping[str, Any], *, approximate: bool = False
) -> Completed:
    """Return a model with its predictions for the evaluation rows, which functions without an input use.

    Args:
        model: the model.
        data: the data that it was trained on.
        options: the options of CREATE MODEL.
        approximate: whether global explanations use approximate attributions.
    """
    rows = evaluation_rows(data, model.classes if isinstance(model, Classifier) else None)
    importance = model.mean_attributions(rows, approximate=approximate) if options["enable_global_explain"] else None
    kept: Any = model.scored(rows)
    return replace(model, kept=kept, importance=importance)


def evaluation_rows(data: TrainingData, classes: Classes | None = None) -> pa.Table:
    """Return the evaluation rows of a model: the rows held out, or the training rows if there are none.

    Rows with a class that no training row has are excluded.
    """
    held_out = data.evaluation
    if classes is not None:
        held_out = held_out.filter(pc.is_in(held_out[data.label], value_set=classes.values))
    return held_out if held_out.num_rows else data.training


def label_column(rows: pa.Table, label: str) -> pa.ChunkedArray:
    """Return the label of every row.

    Raises:
        BigQueryError: `invalidQuery` if there are no rows, the column is missing, or it contains NULL.
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
        BigQueryError: `invalidQuery` as for `label_column`, or if a label is not a finite number.
    """
    column = label_column(rows, label)
    if not is_numeric(column.type):
        raise invalid_query(f"The label column {label!r} of a regression must be a number, not {column.type}")
    values: Vector = as_float64(column).to_numpy()
    if not np.isfinite(values).all():
        raise invalid_query(f"The label column {label!r} contains NaN or infinity")
    return values
