"""KMEANS: Lloyd's algorithm.

https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-create-kmeans
"""

from collections.abc import Mapping
from math import log10
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse
from sklearn.cluster import kmeans_plusplus

from local_bigquery.errors import invalid_query
from local_bigquery.ml.features.encoding import FeatureEncoder, Matrix
from local_bigquery.ml.features.info import describe
from local_bigquery.ml.features.training_data import find_column, ordered
from local_bigquery.ml.model import Vector
from local_bigquery.ml.models.clusters import Clusters, nearest
from local_bigquery.ml.options import Option, boolean, number, one_of, only, string, whole_number

KMEANS_OPTIONS = (
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

_FEWEST_CLUSTERS = 2
_SEED = 0
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


def train_kmeans(rows: pa.Table, options: Mapping[str, Any]) -> Clusters:
    """Find the clusters.

    Raises:
        BigQueryError: `invalidQuery`, if the rows cannot be clustered, or options do not go together.
    """
    if rows.num_rows == 0:
        raise invalid_query("The training query returned no rows")
    chosen_column = _chosen_column(rows, options)
    features = [name for name in rows.column_names if name != chosen_column]
    if not features:
        raise invalid_query("The training query returned no column that can be a feature")
    rows = ordered(rows)
    encoder = FeatureEncoder.fit(rows, features, standardize=options["standardize_features"])
    matrix = encoder.encode(rows)
    start = _start(matrix, rows, chosen_column, options)
    centers, training_info = _lloyd(matrix, start, options)
    model = Clusters(
        encoder=encoder,
        centers=centers,
        distance_type=options["distance_type"],
        training_info=training_info,
        feature_info=describe(rows, features),
    )
    return model.evaluated(rows)


def _chosen_column(rows: pa.Table, options: Mapping[str, Any]) -> str | None:
    """Return the column that says which rows are the first centroids, or None."""
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


def _start(matrix: Matrix, rows: pa.Table, chosen_column: str | None, options: Mapping[str, Any]) -> Vector:
    """Return the first centroids, (clusters, encoded columns)."""
    count = matrix.shape[0]
    clusters = options["num_clusters"] or max(_FEWEST_CLUSTERS, int(log10(count)))
    if clusters > count:
        raise invalid_query(f"num_clusters is {clusters}, but the training query returned only {count} rows")
    if options["kmeans_init_method"] == "KMEANS++":
        centroids, _ = kmeans_plusplus(matrix, clusters, random_state=_SEED)
        return _dense(centroids)
    if chosen_column is None:
        return _dense(matrix[np.sort(np.random.default_rng(_SEED).permutation(count)[:clusters])])
    chosen = np.flatnonzero(rows[chosen_column].fill_null(fill_value=False).to_numpy())
    if options["num_clusters"] is None or len(chosen) != clusters:
        raise invalid_query(
            f"Column {chosen_column!r} of kmeans_init_col is TRUE in {len(chosen)} rows; it must be so in as many as "
            f"the option 'num_clusters' says ({options['num_clusters']})"
        )
    return _dense(matrix[chosen])


def _lloyd(matrix: Matrix, centers: Vector, options: Mapping[str, Any]) -> tuple[Vector, pa.Table]:
    """Move the centroids to the means of their rows until nothing moves, or progress is too small.

    Returns:
        The centroids, and the columns of ML.TRAINING_INFO.
    """
    history: list[dict[str, Any]] = []
    for iteration in range(options["max_iterations"]):
        started = perf_counter()
        numbers, distances = (found[:, 0] for found in nearest(matrix, centers, options["distance_type"], 1))
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
        stands = np.array_equal(moved, centers)
        centers = moved
        if stands or (options["early_stop"] and _stalls(history, options["min_rel_progress"])):
            break
    return centers, pa.Table.from_pylist(history, schema=_TRAINING_INFO)


def _means(matrix: Matrix, numbers: Vector, sizes: Vector, centers: Vector) -> Vector:
    """Return the mean of the rows of every cluster; the center that it has, if it has no rows."""
    count = len(numbers)
    membership = sparse.csr_array((np.ones(count), (numbers, np.arange(count))), shape=(len(centers), count))
    sums = _dense(membership @ matrix)
    return np.where(sizes[:, np.newaxis] > 0, sums / np.maximum(sizes, 1)[:, np.newaxis], centers)


def _stalls(history: list[dict[str, Any]], least: float) -> bool:
    """Whether the last iteration reduced the loss by too small a part."""
    if len(history) == 1:
        return False
    previous, current = history[-2]["loss"], history[-1]["loss"]
    return bool(previous - current < least * previous)


def _dense(matrix: Matrix) -> Vector:
    return np.asarray(matrix.toarray() if sparse.issparse(matrix) else matrix)
