"""PCA; the numbers that BigQuery recorded are in test_recorded_answers.py."""

import numpy as np
import pyarrow as pa
import pytest

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.model_types import model_type_of

ROWS = "SELECT n, MOD(n, 7) AS x, MOD(n * n, 11) AS y, CAST(MOD(n, 3) AS STRING) AS kind FROM t"
TABLE = "WITH t AS (SELECT n FROM UNNEST(GENERATE_ARRAY(1, 80)) AS n)"


@pytest.fixture(scope="module")
def reduced(client):
    client.create_dataset("reduced")
    client.query(
        "CREATE MODEL reduced.m OPTIONS(model_type='PCA', num_principal_components=2) AS "
        f"{TABLE} SELECT * EXCEPT(n) FROM ({ROWS})"
    ).result()
    yield client
    client.delete_dataset("reduced", delete_contents=True)


def test_columns_are_those_of_the_documentation(columns, reduced):
    assert columns(f"{TABLE} SELECT * FROM ML.PREDICT(MODEL reduced.m, ({ROWS}))") == [
        "principal_component_1 FLOAT64",
        "principal_component_2 FLOAT64",
        "n INT64",
    ]
    kept = f"{TABLE} SELECT * FROM ML.PREDICT(MODEL reduced.m, ({ROWS}), STRUCT(TRUE AS keep_original_columns))"
    assert columns(kept)[2:] == ["n INT64", "x INT64", "y INT64", "kind STRING"]
    chosen = f"{TABLE} SELECT n, principal_component_2 FROM ML.PREDICT(MODEL reduced.m, ({ROWS}))"
    assert columns(chosen) == ["n INT64", "principal_component_2 FLOAT64"]
    assert columns("SELECT * FROM ML.PRINCIPAL_COMPONENTS(MODEL reduced.m)") == [
        "principal_component_id INT64",
        "feature STRING",
        "numerical_value FLOAT64",
        "categorical_value ARRAY<STRUCT<category STRING, value FLOAT64>>",
    ]
    assert columns("SELECT * FROM ML.PRINCIPAL_COMPONENT_INFO(MODEL reduced.m)") == [
        "principal_component_id INT64",
        "eigenvalue FLOAT64",
        "explained_variance_ratio FLOAT64",
        "cumulative_explained_variance_ratio FLOAT64",
    ]
    assert columns("SELECT * FROM ML.EVALUATE(MODEL reduced.m)") == ["total_explained_variance_ratio FLOAT64"]


def test_the_training_rows_evaluate_to_the_same_with_and_without_an_input(rows, reduced):
    (kept,) = rows("SELECT * FROM ML.EVALUATE(MODEL reduced.m)")
    (given,) = rows(f"{TABLE} SELECT * FROM ML.EVALUATE(MODEL reduced.m, ({ROWS}))")
    assert kept["total_explained_variance_ratio"] == pytest.approx(given["total_explained_variance_ratio"])


def test_the_resource_has_the_options_and_the_metric(reduced):
    resource = reduced.get_model("reduced.m").to_api_repr()
    (run,) = resource["trainingRuns"]
    assert resource["modelType"] == "PCA"
    assert run["trainingOptions"] | {"numPrincipalComponents": "2", "pcaSolver": "AUTO"} == run["trainingOptions"]
    assert 0.5 < run["evaluationMetrics"]["dimensionalityReductionMetrics"]["totalExplainedVarianceRatio"] < 1


NUMBERS = pa.table({"a": [-1.0, -2.0, -3.0, 1.0, 2.0, 3.0], "b": [-1.0, -1.0, -2.0, 1.0, 1.0, 2.0]})


def train(rows, **options):
    model_type, complete = model_type_of({"model_type": "pca", **options})
    return model_type.train(rows, complete)


def test_the_example_of_bigframes_gives_its_numbers():
    """bigframes.ml.decomposition.PCA, section "Examples", shows BigQuery's answer."""
    model = train(NUMBERS, num_principal_components=2)
    found = np.abs(np.column_stack([column.to_numpy() for column in model.predict(NUMBERS).columns]))
    assert found[:2] == pytest.approx(np.array([[0.755243, 0.157628], [1.05405, 0.141179]]), abs=1e-6)
    ratios = model.principal_component_info()["explained_variance_ratio"].to_pylist()
    assert ratios == pytest.approx([0.99099, 0.00901], abs=1e-5)


def test_a_ratio_chooses_the_least_number_of_components():
    assert train(NUMBERS, pca_explained_variance_ratio=0.5).vectors.shape[1] == 1
    assert train(NUMBERS, pca_explained_variance_ratio=0.995).vectors.shape[1] == 2


def test_features_are_only_centred_without_scaling():
    model = train(NUMBERS, num_principal_components=1, scale_features=False)
    deviations = np.column_stack([NUMBERS["a"], NUMBERS["b"]])
    assert model.eigenvalues.sum() == pytest.approx(deviations.var(axis=0, ddof=1).sum())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_principal_components": 3}, "have at most 2 components"),
        ({"num_principal_components": 1, "pca_explained_variance_ratio": 0.5}, "exclude each other"),
        ({"pca_explained_variance_ratio": 1}, "below 1"),
        ({"pca_solver": "lapack"}, "'FULL' or 'RANDOMIZED' or 'AUTO'"),
        ({"num_clusters": 3}, "'num_clusters' of model type PCA is unknown"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(BigQueryError, match=message):
        train(NUMBERS, **options)


def test_one_row_is_refused():
    with pytest.raises(BigQueryError, match="needs at least 2"):
        train(NUMBERS.slice(0, 1))
