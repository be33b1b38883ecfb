"""The columns that the checker expects of BigQuery ML are those that the local BigQuery ML returns."""

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from local_bigquery.analyzer import Catalog, GoogleSqlError, UnknownOutputError, analyze, parse
from local_bigquery.analyzer.ml import FEEDBACK_METRICS, FUNCTIONS, METRICS, Model
from refresh_factory import checks
from refresh_factory.check.bigquery import _type
from refresh_factory.check.options import MODEL_TYPES

DATASET = "demo.outputs"
ROWS = (
    "SELECT MOD(n, 7) + 0.5 AS x, CAST(MOD(n, 3) AS STRING) AS kind, MOD(n, 2) AS label, "
    "IF(MOD(n, 2) = 1, 'a', 'b') AS name FROM UNNEST(GENERATE_ARRAY(1, 60)) AS n"
)
INPUT = "SELECT 1 AS id, 1.5 AS x, '1' AS kind, 1 AS label, 'a' AS name"
GLOBAL = "enable_global_explain = TRUE"
CLASSIFIER = ("PREDICT", "EXPLAIN_PREDICT", "EVALUATE", "FEATURE_INFO", "TRAINING_INFO", "ROC_CURVE", "GLOBAL_EXPLAIN")
REGRESSOR = ("PREDICT", "EXPLAIN_PREDICT", "EVALUATE", "FEATURE_INFO", "GLOBAL_EXPLAIN")
CLUSTERS = ("PREDICT", "EVALUATE", "CENTROIDS", "FEATURE_INFO")
MODELS = {
    "LOGISTIC_REG": ((*CLASSIFIER, "WEIGHTS"), f"input_label_cols = ['name'], {GLOBAL}"),
    "LINEAR_REG": ((*REGRESSOR, "WEIGHTS"), GLOBAL),
    "BOOSTED_TREE_CLASSIFIER": (
        (*CLASSIFIER, "FEATURE_IMPORTANCE"),
        f"{GLOBAL}, max_iterations = 2",
    ),
    "RANDOM_FOREST_REGRESSOR": (
        (*REGRESSOR, "FEATURE_IMPORTANCE"),
        f"{GLOBAL}, num_parallel_tree = 2",
    ),
    "KMEANS": (CLUSTERS, "num_clusters = 2"),
    "DNN_CLASSIFIER": (CLASSIFIER, f"{GLOBAL}, hidden_units = [2], max_iterations = 2"),
    "DNN_REGRESSOR": (REGRESSOR, f"{GLOBAL}, hidden_units = [2], max_iterations = 2"),
    "PCA": (
        ("EVALUATE", "FEATURE_INFO", "TRAINING_INFO", "PRINCIPAL_COMPONENTS", "PRINCIPAL_COMPONENT_INFO"),
        "num_principal_components = 2",
    ),
}
WITHOUT_INPUT = (
    "CENTROIDS",
    "FEATURE_IMPORTANCE",
    "FEATURE_INFO",
    "GLOBAL_EXPLAIN",
    "PRINCIPAL_COMPONENTS",
    "PRINCIPAL_COMPONENT_INFO",
    "TRAINING_INFO",
    "WEIGHTS",
)
FACTORS = (
    "OPTIONS (model_type = 'MATRIX_FACTORIZATION', feedback_type = 'IMPLICIT', user_col = 'u', num_factors = 2) AS "
    "SELECT CAST(MOD(n, 5) AS STRING) AS u, MOD(n, 3) AS item, 1.0 AS rating FROM UNNEST([1, 2, 3, 4]) AS n"
)
SERIES = (
    "OPTIONS (model_type = 'ARIMA_PLUS', time_series_id_col = 'shop', time_series_timestamp_col = 'day', "
    "time_series_data_col = 'sold', auto_arima_max_order = 1) AS "
    "SELECT 'a' AS shop, DATE_ADD(DATE '2026-01-01', INTERVAL n DAY) AS day, MOD(n * n, 7) AS sold "
    "FROM UNNEST(GENERATE_ARRAY(1, 30)) AS n"
)
OTHERS = {
    "MATRIX_FACTORIZATION": (
        FACTORS,
        (
            "ML.RECOMMEND(MODEL {m})",
            "ML.RECOMMEND(MODEL {m}, (SELECT '1' AS u))",
            "ML.RECOMMEND(MODEL {m}, (SELECT 1 AS item))",
            "ML.RECOMMEND(MODEL {m}, (SELECT '1' AS u, 1 AS item, 'x' AS note))",
            "ML.WEIGHTS(MODEL {m})",
            "ML.EVALUATE(MODEL {m})",
            "ML.TRAINING_INFO(MODEL {m})",
        ),
    ),
    "ARIMA_PLUS": (
        SERIES,
        (
            "ML.FORECAST(MODEL {m})",
            "ML.ARIMA_EVALUATE(MODEL {m}, STRUCT(TRUE AS show_all_candidate_models))",
            "ML.ARIMA_COEFFICIENTS(MODEL {m})",
            "ML.EVALUATE(MODEL {m})",
            "ML.EVALUATE(MODEL {m}, (SELECT 'a' AS shop, DATE '2026-02-01' AS day, 3 AS sold))",
            "ML.TRAINING_INFO(MODEL {m})",
        ),
    ),
}


def training(model_type, options):
    query = ROWS.replace(", MOD(n, 2) AS label", "") if model_type == "LOGISTIC_REG" else ROWS
    return f"CREATE OR REPLACE MODEL {DATASET}.{model_type} OPTIONS (model_type = '{model_type}', {options}) AS {query}"


def described(sql):
    """The model of a CREATE MODEL, as the checker describes it."""
    (statement,) = parse(sql)
    return Model.of(statement, analyze(sql, Catalog({}, "demo", functions=FUNCTIONS)))


@pytest.fixture(scope="module")
def client(bigquery):
    client = bq.Client("demo", credentials=AnonymousCredentials())
    client.create_dataset(DATASET)
    return client


@pytest.mark.parametrize("model_type", MODELS)
def test_expected_columns_are_those_that_the_local_bigquery_returns(client, model_type):
    functions, options = MODELS[model_type]
    client.query_and_wait(training(model_type, options))
    model = described(training(model_type, options))
    for function in functions:
        rows = "" if function in WITHOUT_INPUT else f", ({INPUT})"
        sql = f"SELECT * FROM ML.{function}(MODEL {DATASET}.{model_type}{rows})"
        expected = {name: str(kind) for name, kind in analyze(sql, Catalog({}, "demo", model.output)).columns}
        returned = {field.name: _type(field) for field in client.query_and_wait(sql).schema}
        assert {name: returned.get(name) for name in expected} == expected, function
        assert function == "TRAINING_INFO" or expected.keys() == returned.keys(), function


@pytest.mark.parametrize("model_type", OTHERS)
def test_expected_columns_of_models_without_a_label_are_those_that_the_local_bigquery_returns(client, model_type):
    text, calls = OTHERS[model_type]
    name = f"{DATASET}.{model_type}"
    client.query_and_wait(f"CREATE OR REPLACE MODEL {name} {text}")
    model = described(f"CREATE OR REPLACE MODEL {name} {text}")
    for call in calls:
        sql = f"SELECT * FROM {call.format(m=name)}"
        expected = {column: str(kind) for column, kind in analyze(sql, Catalog({}, "demo", model.output)).columns}
        assert {field.name: _type(field) for field in client.query_and_wait(sql).schema} == expected, call


def columns_of(model, call):
    sql = f"SELECT * FROM {call}"
    return {name: str(kind) for name, kind in analyze(sql, Catalog({}, "demo", model.output)).columns}


def test_recommendations_are_by_the_columns_that_the_options_name():
    options = "model_type = 'MATRIX_FACTORIZATION', user_col = 'u', {}"
    query = f"CREATE MODEL d.m OPTIONS ({options}) AS SELECT 1 AS u, '' AS item"
    explicit = described(query.format("feedback_type = 'EXPLICIT'") + ", 0.5 AS rating")
    assert columns_of(explicit, "ML.RECOMMEND(MODEL d.m)") == {
        "predicted_rating": "FLOAT64",
        "u": "INT64",
        "item": "STRING",
    }
    implicit = described(query.format("rating_col = 'r', feedback_type = 'implicit'") + ", 0.5 AS r")
    assert "predicted_r_confidence" in columns_of(implicit, "ML.RECOMMEND(MODEL d.m)")
    with pytest.raises(UnknownOutputError):
        columns_of(implicit, "ML.RECOMMEND(MODEL d.m, (SELECT * FROM UNNEST([STRUCT(1 AS u)])))")


def test_forecasts_have_the_ids_of_their_series():
    model = described(
        "CREATE MODEL d.m OPTIONS (model_type = 'ARIMA_PLUS', time_series_id_col = ['shop']) AS "
        "SELECT 'a' AS shop, DATE '2026-01-01' AS day, 1.5 AS sold",
    )
    columns = columns_of(model, "ML.FORECAST(MODEL d.m, STRUCT(3 AS horizon, 0.9 AS confidence_level))")
    assert (columns["shop"], columns["forecast_timestamp"]) == ("STRING", "TIMESTAMP")


def test_features_of_a_model_with_a_transformation_are_what_it_uses():
    model = described(
        "CREATE MODEL d.m TRANSFORM (ML.STANDARD_SCALER(x) OVER () AS scaled, ML.BUCKETIZE(y, [1, 2]) AS part, label) "
        "OPTIONS (model_type = 'LINEAR_REG') AS SELECT 1.5 AS x, 1 + 1 AS y, 'z' AS unused, 2.5 AS label",
    )
    assert (list(model.features), list(model.labels)) == (["x", "y"], ["label"])
    assert columns_of(model, "ML.PREDICT(MODEL d.m, (SELECT 1.5 AS x, 2 AS y))") == {
        "x": "FLOAT64",
        "y": "INT64",
        "predicted_label": "FLOAT64",
    }


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_no_type_of_model_is_refused(model_type):
    model = described(f"CREATE MODEL d.m OPTIONS (model_type = '{model_type}') AS SELECT 1 AS x, 2 AS label")
    for function in ("PREDICT", "EVALUATE", "WEIGHTS", "RECOMMEND", "FORECAST", "DETECT_ANOMALIES"):
        (call,) = parse(f"SELECT * FROM ML.{function}(MODEL d.m, (SELECT 1 AS x))")[0].calls
        model.output(call)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            "ML.EXPLAIN_PREDICT(MODEL d.m, (SELECT 1 AS x))",
            "ML.EXPLAIN_PREDICT does not explain KMEANS; it takes LOGIST",
        ),
        ("ML.PREDICT(MODEL d.m)", "ML.PREDICT needs a query or TABLE after the model"),
        (
            "ML.CENTROIDS(MODEL d.m, STRUCT(TRUE AS standardise))",
            "ML.CENTROIDS has no setting standardise; there are stan",
        ),
    ],
)
def test_calls_that_bigquery_refuses_are_refused(call, message):
    model = described("CREATE MODEL d.m OPTIONS (model_type = 'KMEANS') AS SELECT 1 AS x")
    with pytest.raises(GoogleSqlError, match=message):
        columns_of(model, call)


def test_the_metrics_of_the_analyzer_are_those_that_airflow_checks():
    assert (METRICS, FEEDBACK_METRICS) == (checks.METRICS, checks.FEEDBACK_METRICS)
