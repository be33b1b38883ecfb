"""The model type PCA: principal components of features, from the eigenvectors of their second moments.

Numbers are centred and divided by their sample standard deviation; NULL counts as the mean. Columns of categories are
neither centred nor scaled. This gives BigQuery's recorded eigenvalues (`tests/ml/test_recorded_answers.py`).
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-pca
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import (
    Feature,
    FeatureEncoder,
    NumericEncoding,
    as_float64,
    category_names,
    dense,
)
from local_bigquery.ml.features.statistics import describe
from local_bigquery.ml.features.training_data import ordered
from local_bigquery.ml.metrics import PCA_FIELDS, metrics_table, rest_fields
from local_bigquery.ml.model import ModelType, Vector, refuse_threshold
from local_bigquery.ml.models.training_info import iterations
from local_bigquery.ml.options import Option, boolean, number, one_of, whole_number

_OPTIONS = (
    Option("num_principal_components", whole_number(at_least=1)),
    Option("pca_explained_variance_ratio", number(more_than=0.0, less_than=1.0)),
    Option("scale_features", boolean, default=True),
    Option("pca_solver", one_of("FULL", "RANDOMIZED", "AUTO"), "AUTO"),
)
_MIN_ROWS = 2
_COMPONENTS = pa.schema(
    [
        ("principal_component_id", pa.int64()),
        ("feature", pa.string()),
        ("numerical_value", pa.float64()),
        ("categorical_value", pa.list_(pa.struct([("category", pa.string()), ("value", pa.float64())]))),
    ]
)


@dataclass(frozen=True, kw_only=True)
class PrincipalComponents:
    """A trained PCA. The ids of its components count from 0.

    Attributes:
        encoder: encodes rows as a matrix.
        vectors: the components, (encoded columns, components).
        eigenvalues: the eigenvalues of all components, in descending order, also of those that are not kept.
        training_info: see `model.Model`.
        feature_info: see `model.Model`.
    """

    encoder: FeatureEncoder
    vectors: Vector
    eigenvalues: Vector
    training_info: pa.Table
    feature_info: pa.Table
    model_type: str = "PCA"
    label: None = None

    def predict(self, rows: pa.Table, threshold: float | None = None) -> pa.Table:
        """Return the coordinates of every row."""
        refuse_threshold(threshold, self.model_type)
        coordinates = dense(self.encoder.encode(rows) @ self.vectors)
        return pa.table({f"principal_component_{number}": column for number, column in enumerate(coordinates.T, 1)})

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return the part of the second moments that the components keep."""
        refuse_threshold(threshold, self.model_type)
        kept, total = self.eigenvalues[: self.vectors.shape[1]].sum(), self.eigenvalues.sum()
        if rows is not None:
            if rows.num_rows == 0:
                raise invalid_query("There are no rows to evaluate: the input is empty")
            matrix = dense(self.encoder.encode(rows))
            kept, total = ((matrix @ self.vectors) ** 2).sum(), (matrix**2).sum()
        return metrics_table({"total_explained_variance_ratio": float(kept / total) if total else None})

    def rest_metrics(self) -> dict[str, Any]:
        """See `model.Model`."""
        return {"dimensionalityReductionMetrics": rest_fields(self.evaluate(None), PCA_FIELDS)}

    def principal_components(self) -> pa.Table:
        """Return the result of ML.PRINCIPAL_COMPONENTS."""
        return pa.Table.from_pylist(
            [
                {"principal_component_id": identifier, "feature": feature.name, **_value(feature, vector[span])}
                for identifier, vector in enumerate(self.vectors.T)
                for feature, span in self.encoder.spans()
            ],
            schema=_COMPONENTS,
        )

    def principal_component_info(self) -> pa.Table:
        """Return the result of ML.PRINCIPAL_COMPONENT_INFO."""
        count = self.vectors.shape[1]
        ratios = self.eigenvalues / self.eigenvalues.sum()
        return pa.table(
            {
                "principal_component_id": pa.array(range(count), pa.int64()),
                "eigenvalue": self.eigenvalues[:count],
                "explained_variance_ratio": ratios[:count],
                "cumulative_explained_variance_ratio": np.cumsum(ratios)[:count],
            }
        )


def train_pca(rows: pa.Table, options: Mapping[str, Any]) -> PrincipalComponents:
    """Find the components; see `model.ModelType`."""
    started = perf_counter()
    if options["num_principal_components"] is not None and options["pca_explained_variance_ratio"] is not None:
        raise invalid_query(
            "The options 'num_principal_components' and 'pca_explained_variance_ratio' exclude each other"
        )
    if rows.num_rows < _MIN_ROWS:
        raise invalid_query(f"The training query returned {rows.num_rows} rows; a PCA needs at least {_MIN_ROWS}")
    rows = ordered(rows)
    encoder = FeatureEncoder.fit(rows, rows.column_names)
    encoder = FeatureEncoder(
        tuple(_scaled(feature, rows, scale=options["scale_features"]) for feature in encoder.features)
    )
    matrix = dense(encoder.encode(rows))
    eigenvalues, vectors = np.linalg.eigh(matrix.T @ matrix / (rows.num_rows - 1))
    eigenvalues, vectors = np.maximum(eigenvalues[::-1], 0.0), vectors[:, ::-1]
    largest = np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[np.newaxis], axis=0)
    vectors = vectors * np.where(largest < 0, -1.0, 1.0)  # so that equal rows give equal signs
    return PrincipalComponents(
        encoder=encoder,
        vectors=vectors[:, : _count(eigenvalues, rows, options)],
        eigenvalues=eigenvalues,
        training_info=iterations(loss=[None], duration_ms=[round(1000 * (perf_counter() - started))]),
        feature_info=describe(rows, rows.column_names),
    )


def _scaled(feature: Feature, rows: pa.Table, *, scale: bool) -> Feature:
    """Return a feature whose numbers are divided by the sample standard deviation of those that are not NULL."""
    if not isinstance(feature.encoding, NumericEncoding):
        return feature
    deviation = pc.stddev(as_float64(feature.values(rows)), ddof=1).as_py() if scale else 1.0
    return replace(feature, encoding=replace(feature.encoding, deviation=deviation or 1.0))


def _count(eigenvalues: Vector, rows: pa.Table, options: Mapping[str, Any]) -> int:
    """Return the number of components to keep."""
    most: int = min(rows.num_rows, len(eigenvalues))
    given, ratio = options["num_principal_components"], options["pca_explained_variance_ratio"]
    if given is not None:
        if given > most:
            raise invalid_query(
                f"num_principal_components is {given}; these rows and features have at most {most} components"
            )
        return int(given)
    if ratio is None:
        return min(most, int(rows.num_columns))
    shares = np.cumsum(eigenvalues) / eigenvalues.sum()
    return 1 + int(np.searchsorted(shares, ratio, side="right"))


def _value(feature: Feature, vector: Vector) -> dict[str, Any]:
    """Return the values of a component for one feature."""
    if isinstance(feature.encoding, NumericEncoding):
        return {"numerical_value": float(vector[0]), "categorical_value": []}
    named = [
        {"category": name, "value": float(vector[position])} for position, name in category_names(feature.encoding)
    ]
    return {"numerical_value": None, "categorical_value": named}


PCA = ModelType("PCA", "PCA", _OPTIONS, train_pca)
