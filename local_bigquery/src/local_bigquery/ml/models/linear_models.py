"""Trained linear models: what predicts is a weight for every encoded column, and an intercept.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-weights
"""

from typing import Any

import numpy as np
import pyarrow as pa

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.category_names import category_names
from local_bigquery.ml.features.encoding import FeatureEncoder, Matrix, NumericEncoding
from local_bigquery.ml.model import Vector
from local_bigquery.ml.models.supervised import Classifier, Regressor, Supervised

_INTERCEPT = "__INTERCEPT__"
_WEIGHTS = pa.schema(
    [
        ("processed_input", pa.string()),
        ("weight", pa.float64()),
        ("category_weights", pa.list_(pa.struct([("category", pa.string()), ("weight", pa.float64())]))),
    ]
)


class LinearModel(Supervised):
    """What linear models share; `estimator` has scikit-learn's `coef_` and `intercept_`."""

    def attributions(self, matrix: Matrix, *, approximate: bool = False) -> tuple[Vector, Vector]:
        """Return weight * value, added up by column; the baseline is the intercept."""
        if approximate:
            raise invalid_query("approx_feature_contrib only applies to boosted tree and random forest models")
        weights, intercepts = self._coefficients()
        totals = np.zeros((matrix.shape[0], len(weights), len(self.columns)))
        for feature, span in self.encoder.spans():
            totals[:, :, self.columns.index(feature.column)] += matrix[:, span] @ weights[:, span].T
        return totals, intercepts

    def weights(self, *, standardize: bool) -> pa.Table:
        """Return a row for every feature and for the intercept; for more than two classes, for each class."""
        tables = [
            _weights(self.encoder, weights, intercept, standardize=standardize)
            for weights, intercept in zip(*self._coefficients(), strict=True)
        ]
        if len(tables) == 1:
            return tables[0]
        return pa.concat_tables(
            table.append_column("class_label", pa.array([label] * table.num_rows, pa.string()))
            for table, label in zip(tables, self.raw_prediction_names(), strict=True)
        )

    def _coefficients(self) -> tuple[Vector, Vector]:
        """Return weights, (raw predictions, encoded columns), and intercepts, (raw predictions,)."""
        weights = np.atleast_2d(self.estimator.coef_)
        return weights, np.broadcast_to(self.estimator.intercept_, len(weights))

    def raw_prediction_names(self) -> list[str]:
        """Return what each raw prediction is for, if there are several."""
        raise TypeError(f"{self.model_type} has only one raw prediction")


class LinearRegressor(LinearModel, Regressor):
    """A linear regression."""


class LinearClassifier(LinearModel, Classifier):
    """A logistic regression."""

    def raw_prediction_names(self) -> list[str]:
        """Return the classes."""
        names: list[str] = self.class_labels.cast(pa.string()).to_pylist()
        return names


def _weights(encoder: FeatureEncoder, weights: Vector, intercept: float, *, standardize: bool) -> pa.Table:
    """Return ML.WEIGHTS for one raw prediction."""
    rows = []
    for feature, span in encoder.spans():
        row: dict[str, Any] = {"processed_input": feature.name, "weight": None, "category_weights": []}
        if isinstance(encoding := feature.encoding, NumericEncoding):
            weight = float(weights[span][0]) / encoding.scale
            intercept -= weight * encoding.offset
            if standardize:
                intercept += weight * encoding.mean
                weight *= encoding.deviation or 1.0
            row["weight"] = weight
        else:
            row["category_weights"] = [
                {"category": name, "weight": float(weights[span][position])}
                for position, name in category_names(encoding)
            ]
        rows.append(row)
    rows.append({"processed_input": _INTERCEPT, "weight": float(intercept), "category_weights": []})
    return pa.Table.from_pylist(rows, schema=_WEIGHTS)
