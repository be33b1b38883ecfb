"""KMEANS finds the clusters of scikit-learn from the same initial centroids."""

import numpy as np
import pyarrow as pa
import pytest
from google.api_core.exceptions import BadRequest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, davies_bouldin_score
from sklearn.preprocessing import scale

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.model import Clustering, Model
from local_bigquery.ml.model_types import model_type_of

CHOSEN = (3, 500, 900)
TO_THE_END = {"early_stop": False, "max_iterations": 200}


def train(table, **options):
    kind, complete = model_type_of({"model_type": "KMEANS", **options})
    return kind.train(table, complete)


@pytest.fixture(scope="module")
def points():
    random = np.random.default_rng(5)
    centers = np.array([[0.0, 0.0, 5.0], [9.0, 1.0, 0.0], [-4.0, 8.0, -3.0], [6.0, -7.0, 2.0]])
    values = np.concatenate([random.normal(center, 1.5, (150, 3)) for center in centers])
    table = pa.table({"x": values[:, 0], "y": 100 * values[:, 1], "z": values[:, 2]})
    return table.sort_by([(name, "ascending") for name in table.column_names])


@pytest.fixture(scope="module")
def fitted(matrix):
    """The encoded customers, and their clusters by scikit-learn."""
    start = matrix[[number - 1 for number in CHOSEN]]
    return matrix, KMeans(len(CHOSEN), init=start, n_init=1, tol=0.0, max_iter=200).fit(matrix)


@pytest.fixture(scope="module")
def clusters(client, rows, customers):
    """The name of a model of the customers' clusters."""
    client.create_dataset("clustered")
    rows(
        "CREATE MODEL clustered.m OPTIONS(model_type='kmeans', num_clusters=3, kmeans_init_method='CUSTOM', "
        "kmeans_init_col='chosen', early_stop=FALSE, max_iterations=200) AS "
        f"SELECT * EXCEPT(id, bought), id IN {CHOSEN} AS chosen FROM {customers}"
    )
    yield "clustered.m"
    client.delete_dataset("clustered", delete_contents=True)


def test_rows_belong_to_the_clusters_of_scikit_learn(rows, customers, clusters, fitted):
    matrix, expected = fitted
    found = rows(f"SELECT * FROM ML.PREDICT(MODEL {clusters}, TABLE {customers}) ORDER BY id")
    ids = [row["CENTROID_ID"] for row in found]
    assert set(ids) == {1, 2, 3}
    assert adjusted_rand_score(ids, expected.labels_) == 1.0
    distances = np.sort(expected.transform(matrix), axis=1)
    listed = [[entry["DISTANCE"] for entry in row["NEAREST_CENTROIDS_DISTANCE"]] for row in found]
    assert np.array(listed) == pytest.approx(distances, abs=1e-6)
    assert ids == [row["NEAREST_CENTROIDS_DISTANCE"][0]["CENTROID_ID"] for row in found]


def test_results_have_the_documented_columns(client, customers, clusters):
    schema = client.query(f"SELECT * FROM ML.PREDICT(MODEL {clusters}, TABLE {customers})").result().schema
    centroid, nearest, *passed = schema
    assert (centroid.name, centroid.field_type) == ("CENTROID_ID", "INTEGER")
    assert (nearest.name, nearest.field_type, nearest.mode) == ("NEAREST_CENTROIDS_DISTANCE", "RECORD", "REPEATED")
    assert [(field.name, field.field_type) for field in nearest.fields] == [
        ("CENTROID_ID", "INTEGER"), ("DISTANCE", "FLOAT"),
    ]  # fmt: skip
    assert [field.name for field in passed] == ["id", "recency", "frequency", "city", "member", "bought"]
    model = client.get_model(clusters)
    assert model.model_type == "KMEANS"
    assert not model.label_columns


def test_evaluation_is_that_of_scikit_learn(rows, customers, clusters, fitted):
    matrix, expected = fitted
    for source in ("", f", TABLE {customers}"):
        (quality,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {clusters}{source})")
        assert list(quality) == ["davies_bouldin_index", "mean_squared_distance"]
        assert quality["davies_bouldin_index"] == pytest.approx(davies_bouldin_score(matrix, expected.labels_))
        assert quality["mean_squared_distance"] == pytest.approx(expected.inertia_ / len(matrix))


def test_centroids_are_means_and_shares_of_the_rows(rows, customers, clusters):
    found = rows(f"SELECT * FROM ML.PREDICT(MODEL {clusters}, TABLE {customers})")
    mean = np.mean([row["frequency"] for row in found if row["frequency"] is not None])
    centroids = rows(f"SELECT * FROM ML.CENTROIDS(MODEL {clusters})")
    assert list(centroids[0]) == ["centroid_id", "feature", "numerical_value", "categorical_value"]
    values = {(row["centroid_id"], row["feature"]): row for row in centroids}
    assert list(values) == [
        (number, name) for number in (1, 2, 3) for name in ("recency", "frequency", "city", "member")
    ]
    for number in (1, 2, 3):
        members = [row for row in found if row["CENTROID_ID"] == number]
        recency, frequency, city, member = (values[number, name] for name in ("recency", "frequency", "city", "member"))
        assert recency["numerical_value"] == pytest.approx(np.mean([row["recency"] for row in members]))
        frequencies = [mean if row["frequency"] is None else row["frequency"] for row in members]
        assert frequency["numerical_value"] == pytest.approx(np.mean(frequencies))
        assert recency["categorical_value"] == []
        assert city["numerical_value"] is None
        shares = {entry["category"]: entry["value"] for entry in city["categorical_value"]}
        cities = ["_null_filler" if row["city"] is None else row["city"] for row in members]
        assert shares == pytest.approx({name: cities.count(name) / len(cities) for name in set(cities)})
        assert {entry["category"] for entry in member["categorical_value"]} <= {"true", "false"}
    standardised_centroids = rows(f"SELECT * FROM ML.CENTROIDS(MODEL {clusters}, STRUCT(TRUE AS standardize))")
    recencies = [row["recency"] for row in found]
    for plain, standard in zip(centroids, standardised_centroids, strict=True):
        if plain["feature"] == "recency":
            expected = (plain["numerical_value"] - np.mean(recencies)) / np.std(recencies)
            assert standard["numerical_value"] == pytest.approx(expected)


def test_a_threshold_is_refused(rows, customers, clusters):
    with pytest.raises(BadRequest, match="not for KMEANS"):
        rows(f"SELECT * FROM ML.PREDICT(MODEL {clusters}, TABLE {customers}, STRUCT(0.5 AS threshold))")


def test_the_model_offers_what_the_functions_need(points):
    model = train(points, num_clusters=4)
    assert isinstance(model, Model)
    assert isinstance(model, Clustering)
    assert (model.model_type, model.label) == ("KMEANS", None)


@pytest.mark.parametrize("method", ["RANDOM", "KMEANS++"])
def test_every_start_finds_a_local_optimum(points, method):
    model = train(points, num_clusters=4, kmeans_init_method=method, **TO_THE_END)
    numbers = np.array(model.predict(points)["CENTROID_ID"])
    matrix = scale(np.column_stack(points.columns))
    for number in np.unique(numbers):
        assert model.centers[number - 1] == pytest.approx(matrix[numbers == number].mean(axis=0))
    losses = model.training_info["loss"].to_pylist()
    assert losses == sorted(losses, reverse=True)
    assert model.evaluate(None)["mean_squared_distance"][0].as_py() == pytest.approx(losses[-1])


def test_features_that_are_not_standardised_keep_their_scale(points):
    model = train(points, num_clusters=4, standardize_features=False, kmeans_init_method="KMEANS++", **TO_THE_END)
    matrix = np.column_stack(points.columns)
    expected = KMeans(4, init=model.centers, n_init=1).fit(matrix)
    found = model.predict(points)
    assert adjusted_rand_score(found["CENTROID_ID"].to_pylist(), expected.labels_) == 1.0
    distances = [entries[0]["DISTANCE"] for entries in found["NEAREST_CENTROIDS_DISTANCE"].to_pylist()]
    assert np.mean(np.square(distances)) == pytest.approx(expected.inertia_ / len(matrix))
    assert np.mean(distances) > 50
    values = model.centroids(standardize=False)["numerical_value"].to_pylist()
    assert np.reshape(values, (4, 3)) == pytest.approx(model.centers)
    values = np.reshape(model.centroids(standardize=True)["numerical_value"].to_pylist(), (4, 3))
    assert values == pytest.approx((model.centers - matrix.mean(axis=0)) / matrix.std(axis=0))


def test_the_cosine_distance_is_that_of_the_documentation(points):
    model = train(points, num_clusters=3, distance_type="COSINE", **TO_THE_END)
    matrix = scale(np.column_stack(points.columns))
    cosine = (matrix @ model.centers.T) / np.outer(
        np.linalg.norm(matrix, axis=1), np.linalg.norm(model.centers, axis=1)
    )
    distances = np.sort(np.sqrt(1 - cosine), axis=1)
    listed = model.predict(points)["NEAREST_CENTROIDS_DISTANCE"].to_pylist()
    assert np.array([[entry["DISTANCE"] for entry in row] for row in listed]) == pytest.approx(distances, abs=1e-6)
    euclidean = train(points, num_clusters=3, **TO_THE_END)
    assert euclidean.predict(points)["CENTROID_ID"] != model.predict(points)["CENTROID_ID"]


@pytest.mark.parametrize(("count", "listed"), [(2, 2), (5, 5), (8, 5)])
def test_at_most_five_distances_are_listed(points, count, listed):
    found = train(points, num_clusters=count).predict(points)["NEAREST_CENTROIDS_DISTANCE"].to_pylist()
    for entries in found:
        distances = [entry["DISTANCE"] for entry in entries]
        assert len({entry["CENTROID_ID"] for entry in entries}) == listed
        assert distances == sorted(distances)


@pytest.mark.parametrize(("rows_", "clusters_"), [(30, 2), (600, 2), (1000, 3), (12_000, 4)])
def test_the_default_number_of_clusters_is_the_logarithm_of_the_rows(rows_, clusters_):
    numbers = np.random.default_rng(0).normal(size=rows_)
    assert len(train(pa.table({"x": numbers})).centers) == clusters_


def test_training_ends_after_the_first_iteration_without_progress(points):
    info = train(points, num_clusters=4, min_rel_progress=0.05, max_iterations=100).training_info
    assert info.column_names == ["training_run", "iteration", "loss", "duration_ms", "cluster_info"]
    losses = np.array(info["loss"].to_pylist())
    progress = 1 - losses[1:] / losses[:-1]
    assert (progress[:-1] >= 0.05).all()
    assert progress[-1] < 0.05
    assert train(points, num_clusters=4, max_iterations=2, early_stop=False).training_info.num_rows == 2


def test_training_info_describes_the_clusters(points):
    model = train(points, num_clusters=4, **TO_THE_END)
    last = model.training_info["cluster_info"][-1].as_py()
    found = model.predict(points)
    numbers = np.array(found["CENTROID_ID"])
    distances = np.array([entries[0]["DISTANCE"] for entries in found["NEAREST_CENTROIDS_DISTANCE"].to_pylist()])
    assert [entry["centroid_id"] for entry in last] == [1, 2, 3, 4]
    assert [entry["cluster_size"] for entry in last] == [np.count_nonzero(numbers == number) for number in range(1, 5)]
    for entry in last:
        expected = distances[numbers == entry["centroid_id"]].mean()
        assert entry["cluster_radius"] == pytest.approx(expected)


def test_clusters_without_rows_keep_their_centroid():
    table = pa.table({"x": [1.0] * 40 + [2.0]})
    model = train(table, num_clusters=4, standardize_features=False, **TO_THE_END)
    assert set(model.centers[:, 0]) <= {1.0, 2.0}
    sizes = [entry["cluster_size"] for entry in model.training_info["cluster_info"][-1].as_py()]
    assert sorted(sizes)[:2] == [0, 0]
    assert sum(sizes) == 41


def test_clusters_do_not_depend_on_the_order_of_the_rows(points):
    shuffled = points.take(pa.array(np.random.default_rng(3).permutation(points.num_rows)))
    for method in ("RANDOM", "KMEANS++"):
        first, second = (train(table, num_clusters=4, kmeans_init_method=method) for table in (points, shuffled))
        assert first.predict(points) == second.predict(points)


def test_many_rows_are_predicted_in_pieces(points):
    model = train(points, num_clusters=4)
    many = pa.concat_tables([points] * 150)
    found = model.predict(many)
    assert found.slice(points.num_rows * 149).combine_chunks() == model.predict(points)
    assert model.predict(points.slice(0, 0)).num_rows == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": 1}, "'num_clusters' .* from 2 to 100, not 1"),
        ({"num_clusters": 101}, "'num_clusters' .* from 2 to 100, not 101"),
        ({"num_clusters": 7}, "num_clusters is 7, but the training query returned only 5 rows"),
        ({"distance_type": "MANHATTAN"}, "'distance_type' .* must be 'EUCLIDEAN' or 'COSINE', not 'MANHATTAN'"),
        ({"kmeans_init_col": "chosen"}, "'kmeans_init_col' goes with kmeans_init_method 'CUSTOM', not 'RANDOM'"),
        ({"kmeans_init_method": "CUSTOM"}, "needs the option 'kmeans_init_col' with a BOOL column .* not None"),
        ({"kmeans_init_method": "CUSTOM", "kmeans_init_col": "x"}, "with a BOOL column .* not 'x'"),
        (
            {"kmeans_init_method": "CUSTOM", "kmeans_init_col": "chosen", "num_clusters": 3},
            "'chosen' .* is TRUE in 2 rows; .* 'num_clusters' says \\(3\\)",
        ),
        ({"warm_start": True}, "'warm_start' .* can only be False"),
        ({"input_label_cols": ["x"]}, "'input_label_cols' of model type KMEANS is unknown"),
        ({"data_split_method": "RANDOM"}, "'data_split_method' of model type KMEANS is unknown"),
        ({"num_trials": 3}, "'num_trials' .* no hyperparameter tuning"),
    ],
)
def test_options_that_do_not_fit_are_refused_by_name(options, message):
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0, 5.0], "chosen": [True, False, True, False, None]})
    with pytest.raises(BigQueryError, match=message) as raised:
        train(table, **options)
    assert raised.value.reason == "invalidQuery"


def test_rows_that_cannot_be_clustered_are_refused():
    with pytest.raises(BigQueryError, match="returned no rows"):
        train(pa.table({"x": pa.array([], pa.float64())}))
    with pytest.raises(BigQueryError, match="no column that can be a feature"):
        train(pa.table({"c": [True, True]}), kmeans_init_method="CUSTOM", kmeans_init_col="c", num_clusters=2)
