"""The model type KMEANS, by Lloyd's algorithm.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-kmeans
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-predict#k-means_models
https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-centroids
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import log10
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse
from sklearn.cluster import kmeans_plusplus
from sklearn.metrics.pairwise import cosine_distances, euclidean_distances

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import (
    FeatureEncoder,
    Matrix,
    NumericEncoding,
    category_names,
    dense,
    struct_lists,
)
from local_bigquery.ml.features.statistics import describe
from local_bigquery.ml.features.training_data import find_column, ordered
from local_bigquery.ml.metrics import CLUSTERING_FIELDS, metrics_table, rest_fields
from local_bigquery.ml.model import ModelType, Vector, refuse_threshold
from local_bigquery.ml.options import Option, boolean, number, one_of, only, string, whole_number

_OPTIONS = (
    Option("num_clusters", whole_number(at_least=2, at_most=100)),
    Option("kmeans_init_method", one_of("RANDOM", "KMEANS++", "CUSTOM"), "RANDOM"),
    Option("kmeans_init_col", string),
    Option("distance_type", one_of("EUCLIDEAN", "COSINE"), "EUCLIDEAN"),
    Option("standardize_features", boolean, default=True),
    Option("max_iterations", whole_number(at_least=1), 20),
    Option("early_stop", boolean, default=True),
    Option("min_rel_progress", number(at_least=0.0), 0.01),
    Option("warm_start", only(choice=False), default=False),
)

_MIN_CLUSTERS = 2
_SEED = 0
_MAX_DISTANCES = 5  # the number of distances that ML.PREDICT returns
_BATCH_ROWS = 65_536  # rows whose distances are in memory at a time
_CENTROIDS = pa.schema(
    [
        ("centroid_id", pa.int64()),
        ("feature", pa.string()),
        ("numerical_value", pa.float64()),
        ("categorical_value", pa.list_(pa.struct([("category", pa.string()), ("value", pa.float64())]))),
    ]
)
_TRAINING_INFO = pa.schema(
    [
        ("training_run", pa.int64()),
        ("iteration", pa.int64()),
        ("loss", pa.float64()),
        ("duration_ms", pa.int64()),
        (
            "cluster_info",
            pa.list_(
                pa.struct([("centroid_id", pa.int64()), ("cluster_radius", pa.float64()), ("cluster_size", pa.int64())])
            ),
        ),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Clusters:
    """A trained k-means model. The ids of its centroids count from 1.

    Attributes:
        encoder: encodes rows as a matrix.
        centers: the centroids, (clusters, encoded columns).
        distance_type: `EUCLIDEAN` or `COSINE`.
        training_info: see `model.Model`.
        feature_info: see `model.Model`.
        kept: the metrics of the training rows; None during the training.
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
        """Return the nearest centroid of every row, and the distances to the nearest centroids, the smallest first."""
        refuse_threshold(threshold, self.model_type)
        count = min(_MAX_DISTANCES, len(self.centers))
        numbers, distances = _nearest(self.encoder.encode(rows), self.centers, self.distance_type, count)
        ids = pa.array(numbers.ravel() + 1)
        nearest = struct_lists(count, CENTROID_ID=ids, DISTANCE=pa.array(distances.ravel()))
        return pa.table({"CENTROID_ID": numbers[:, 0] + 1, "NEAREST_CENTROIDS_DISTANCE": nearest})

    def evaluate(self, rows: pa.Table | None, threshold: float | None = None) -> pa.Table:
        """Return the metrics for some rows, or for the training rows."""
        refuse_threshold(threshold, self.model_type)
        if rows is None:
            return self.kept
        if rows.num_rows == 0:
            raise invalid_query("There are no rows to evaluate: the input is empty")
        numbers, distances = _nearest(self.encoder.encode(rows), self.centers, self.distance_type, 1)
        return metrics_table(
            {
                "davies_bouldin_index": self._davies_bouldin_index(numbers[:, 0], distances[:, 0]),
                "mean_squared_distance": float(np.mean(distances**2)),
            }
        )

    def rest_metrics(self) -> dict[str, Any]:
        """See `model.Model`."""
        return {"clusteringMetrics": rest_fields(self.evaluate(None), CLUSTERING_FIELDS)}

    def centroids(self, *, standardize: bool) -> pa.Table:
        """Return a row for every centroid and feature."""
        return pa.Table.from_pylist(
            [
                {
                    "centroid_id": number,
                    "feature": feature.name,
                    **_value(feature.encoding, center[span], standardize=standardize),
                }
                for number, center in enumerate(self.centers, start=1)
                for feature, span in self.encoder.spans()
            ],
            schema=_CENTROIDS,
        )

    def _davies_bouldin_index(self, numbers: Vector, distances: Vector) -> float | None:
        """Return the index of the clusters that have rows; None if only one cluster has rows."""
        sizes = np.bincount(numbers, minlength=len(self.centers))
        present = np.flatnonzero(sizes)
        if len(present) == 1:
            return None
        radii = np.bincount(numbers, distances)[present] / sizes[present]
        apart = _distances(self.centers[present], self.centers[present], self.distance_type)
        np.fill_diagonal(apart, np.inf)
        return float(np.mean(((radii[:, np.newaxis] + radii) / apart).max(axis=1)))


def _nearest(matrix: Matrix, centers: Vector, distance_type: str, count: int) -> tuple[Vector, Vector]:
    """Find the `count` nearest centers of every row, the nearest first.

    Returns:
        The numbers of the centers, and the distances to them; both (rows, count).
    """
    total = matrix.shape[0]
    numbers, distances = np.empty((total, count), dtype=np.int64), np.empty((total, count))
    for start in range(0, total, _BATCH_ROWS):
        span = slice(start, start + _BATCH_ROWS)
        found = _distances(matrix[span], centers, distance_type)
        numbers[span] = np.argsort(found, axis=1, kind="stable")[:, :count]
        distances[span] = np.take_along_axis(found, numbers[span], axis=1)
    return numbers, distances


def _distances(matrix: Matrix, centers: Vector, distance_type: str) -> Vector:
    """Return the distance from every row to every center, (rows, centers)."""
    if distance_type == "COSINE":
        return np.asarray(np.sqrt(np.maximum(cosine_distances(matrix, centers), 0.0)))
    return np.asarray(euclidean_distances(matrix, centers))


def _value(encoding: Any, center: Vector, *, standardize: bool) -> dict[str, Any]:
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


def train_kmeans(rows: pa.Table, options: Mapping[str, Any]) -> Clusters:
    """Find the clusters; see `model.ModelType`."""
    if rows.num_rows == 0:
        raise invalid_query("The training query returned no rows")
    init_column = _init_column(rows, options)
    features = [name for name in rows.column_names if name != init_column]
    if not features:
        raise invalid_query("The training query returned no column that can be a feature")
    rows = ordered(rows)
    encoder = FeatureEncoder.fit(rows, features, standardize=options["standardize_features"])
    matrix = encoder.encode(rows)
    initial = _initial_centroids(matrix, rows, init_column, options)
    centers, training_info = _lloyd(matrix, initial, options)
    model = Clusters(
        encoder=encoder,
        centers=centers,
        distance_type=options["distance_type"],
        training_info=training_info,
        feature_info=describe(rows, features),
    )
    return replace(model, kept=model.evaluate(rows))


def _init_column(rows: pa.Table, options: Mapping[str, Any]) -> str | None:
    """Return the column that marks the rows of the initial centroids, or None."""
    name, method = options["kmeans_init_col"], options["kmeans_init_method"]
    if method != "CUSTOM":
        if name is not None:
            raise invalid_query(f"Option 'kmeans_init_col' goes with kmeans_init_method 'CUSTOM', not {method!r}")
        return None
    column = find_column(rows, name) if name is not None else None
    if column is None or not pa.types.is_boolean(rows[column].type):
        raise invalid_query(
            "kmeans_init_method 'CUSTOM' needs the option 'kmeans_init_col' with a BOOL column of the training query, "
            f"not {name!r}"
        )
    return column


def _initial_centroids(matrix: Matrix, rows: pa.Table, init_column: str | None, options: Mapping[str, Any]) -> Vector:
    """Return the initial centroids, (clusters, encoded columns)."""
    count = matrix.shape[0]
    clusters = options["num_clusters"] or max(_MIN_CLUSTERS, int(log10(count)))
    if clusters > count:
        raise invalid_query(f"num_clusters is {clusters}, but the training query returned only {count} rows")
    if options["kmeans_init_method"] == "KMEANS++":
        centroids, _ = kmeans_plusplus(matrix, clusters, random_state=_SEED)
        return dense(centroids)
    if init_column is None:
        return dense(matrix[np.sort(np.random.default_rng(_SEED).permutation(count)[:clusters])])
    chosen = np.flatnonzero(rows[init_column].fill_null(fill_value=False).to_numpy())
    if options["num_clusters"] is None or len(chosen) != clusters:
        raise invalid_query(
            f"Column {init_column!r} of kmeans_init_col is TRUE in {len(chosen)} rows; it must be so in as many as "
            f"the option 'num_clusters' says ({options['num_clusters']})"
        )
    return dense(matrix[chosen])


def _lloyd(matrix: Matrix, centers: Vector, options: Mapping[str, Any]) -> tuple[Vector, pa.Table]:
    """Move each centroid to the mean of its rows until no centroid moves or there is too little progress.

    Returns:
        The centroids, and the result of ML.TRAINING_INFO.
    """
    history: list[dict[str, Any]] = []
    for iteration in range(options["max_iterations"]):
        started = perf_counter()
        numbers, distances = (found[:, 0] for found in _nearest(matrix, centers, options["distance_type"], 1))
        sizes = np.bincount(numbers, minlength=len(centers))
        radii = np.bincount(numbers, distances, minlength=len(centers)) / np.maximum(sizes, 1)
        moved = _means(matrix, numbers, sizes, centers)
        history.append(
            {
                "training_run": 0,
                "iteration": iteration,
                "loss": float(np.mean(distances**2)),
                "duration_ms": round(1000 * (perf_counter() - started)),
                "cluster_info": [
                    {"centroid_id": number, "cluster_radius": radius, "cluster_size": size}
                    for number, (radius, size) in enumerate(zip(radii, sizes, strict=True), start=1)
                ],
            }
        )
        converged = np.array_equal(moved, centers)
        centers = moved
        if converged or (options["early_stop"] and _has_stalled(history, options["min_rel_progress"])):
            break
    return centers, pa.Table.from_pylist(history, schema=_TRAINING_INFO)


def _means(matrix: Matrix, numbers: Vector, sizes: Vector, centers: Vector) -> Vector:
    """Return the mean of the rows of every cluster; the center stays if a cluster has no rows."""
    count = len(numbers)
    membership = sparse.csr_array((np.ones(count), (numbers, np.arange(count))), shape=(len(centers), count))
    sums = dense(membership @ matrix)
    return np.where(sizes[:, np.newaxis] > 0, sums / np.maximum(sizes, 1)[:, np.newaxis], centers)


def _has_stalled(history: list[dict[str, Any]], min_progress: float) -> bool:
    """Return True if the last iteration decreased the loss by less than a fraction."""
    if len(history) == 1:
        return False
    previous, current = history[-2]["loss"], history[-1]["loss"]
    return bool(previous - current < min_progress * previous)


KMEANS = ModelType("KMEANS", "KMEANS", _OPTIONS, train_kmeans)
