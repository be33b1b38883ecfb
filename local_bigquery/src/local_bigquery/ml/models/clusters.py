"""A trained k-means model.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict#k-means_models
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-centroids
"""

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.category_names import category_names
from local_bigquery.ml.features.encoding import FeatureEncoder, Matrix, NumericEncoding
from local_bigquery.ml.metrics import metrics_table
from local_bigquery.ml.model import Vector

_MOST_DISTANCES = 5  # ML.PREDICT names the distances to this many centroids
_ROWS_AT_ONCE = 65_536
_CENTROIDS = pa.schema(
    [
        ("centroid_id", pa.int64()),
        ("feature", pa.string()),
        ("numerical_value", pa.float64()),
        ("categorical_value", pa.list_(pa.struct([("category", pa.string()), ("value", pa.float64())]))),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """Tells which of several centroids a row is nearest to. Their ids count from 1.

    Attributes:
        encoder: Turns rows into a matrix.
        centers: The centroids, (clusters, encoded columns).
        distance_type: `EUCLIDEAN` or `COSINE`.
        training_info: As `protocols.Model` has it.
        feature_info: As `protocols.Model` has it.
        kept: The metrics of the training rows; None until `evaluated` has found them.
    """

    encoder: FeatureEncoder
    centers: Vector
    distance_type: str
    training_info: pa.Table
    feature_info: pa.Table
    kept: pa.Table | None = None
    model_type: str = "KMEANS"
    label: None = None

    def predict(self, rows: pa.Table, threshold: float | None = None) -> pa.Table:
        """Return the nearest centroid of every row, and the distances to the nearest ones, the smallest first."""
        _refuse_threshold(threshold)
        count = min(_MOST_DISTANCES, len(self.centers))
        numbers, distances = nearest(self.encoder.encode(rows), self.centers, self.distance_type, count)
        entries = pa.StructArray.from_arrays(
            [pa.array(numbers.ravel() + 1), pa.array(distances.ravel())], names=["CENTROID_ID", "DISTANCE"]
        )
        offsets = pa.array(np.arange(0, (rows.num_rows + 1) * count, count, dtype=np.int32))
        return pa.table(
            {
                "CENTROID_ID": numbers[:, 0] + 1,
                "NEAREST_CENTROIDS_DISTANCE": pa.ListArray.from_arrays(offsets, entries),
            }
        )

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return how compact the clusters are, on rows that have the feature columns, or on those of the training."""
        _refuse_threshold(threshold)
        if rows is None:
            if self.kept is None:
                raise TypeError("a model that `evaluated` has not ended was used")
            return self.kept
        if rows.num_rows == 0:
            raise invalid_query("There are no rows to evaluate: the input is empty")
        numbers, distances = nearest(self.encoder.encode(rows), self.centers, self.distance_type, 1)
        return metrics_table(
            {
                "davies_bouldin_index": self._davies_bouldin_index(numbers[:, 0], distances[:, 0]),
                "mean_squared_distance": float(np.mean(distances**2)),
            }
        )

    def evaluated(self, rows: pa.Table) -> Self:
        """Return the model with the metrics of the training rows, for ML.EVALUATE without an input."""
        return replace(self, kept=self.evaluate(rows))

    def centroids(self, *, standardize: bool) -> pa.Table:
        """Return a row for every centroid and feature."""
        return pa.Table.from_pylist(
            [
                {"centroid_id": number, "feature": feature.name, **_value(feature.encoding, center[span], standardize)}
                for number, center in enumerate(self.centers, start=1)
                for feature, span in self.encoder.spans()
            ],
            schema=_CENTROIDS,
        )

    def _davies_bouldin_index(self, numbers: Vector, distances: Vector) -> float | None:
        """Return the index over the clusters that have rows; None if only one has."""
        sizes = np.bincount(numbers, minlength=len(self.centers))
        present = np.flatnonzero(sizes)
        if len(present) == 1:
            return None
        radii = np.bincount(numbers, distances)[present] / sizes[present]
        apart = _distances(self.centers[present], self.centers[present], self.distance_type)
        np.fill_diagonal(apart, np.inf)
        return float(np.mean(((radii[:, np.newaxis] + radii) / apart).max(axis=1)))


def nearest(matrix: Matrix, centers: Vector, distance_type: str, count: int) -> tuple[Vector, Vector]:
    """Find the nearest centers of every row.

    Returns:
        The numbers of `count` centers, the nearest first, and the distances to them; both (rows, count).
    """
    total = matrix.shape[0]
    numbers, distances = np.empty((total, count), dtype=np.int64), np.empty((total, count))
    for start in range(0, total, _ROWS_AT_ONCE):
        span = slice(start, start + _ROWS_AT_ONCE)
        found = _distances(matrix[span], centers, distance_type)
        numbers[span] = np.argsort(found, axis=1, kind="stable")[:, :count]
        distances[span] = np.take_along_axis(found, numbers[span], axis=1)
    return numbers, distances


def _distances(matrix: Matrix, centers: Vector, distance_type: str) -> Vector:
    """Return the distance of every row to every center, (rows, centers)."""
    if distance_type == "COSINE":
        return np.asarray(np.sqrt(np.maximum(cosine_distances(matrix, centers), 0.0)))
    return np.asarray(euclidean_distances(matrix, centers))


def _value(encoding: Any, center: Vector, standardize: bool) -> dict[str, Any]:  # noqa: FBT001 -- passed on
    """Return the coordinates of a center for one feature."""
    if isinstance(encoding, NumericEncoding):
        number = float(center[0]) * encoding.scale + encoding.offset
        if standardize:
            number = (number - encoding.mean) / (encoding.deviation or 1.0)
        return {"numerical_value": number, "categorical_value": []}
    present = [
        {"category": name, "value": float(center[position])}
        for position, name in category_names(encoding)
        if center[position]
    ]
    return {"numerical_value": None, "categorical_value": present}


def _refuse_threshold(threshold: float | None) -> None:
    if threshold is not None:
        raise invalid_query("threshold can only be set for a model with two classes, not for k-means")
