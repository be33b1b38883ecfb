"""CREATE MODEL and DROP MODEL: the models are those of scikit-learn for the same matrix."""

import threading

import numpy as np
import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from sklearn import linear_model


def train(rows, name, query, **options):
    written = ", ".join(f"{key}={value}" for key, value in options.items())
    rows(f"CREATE OR REPLACE MODEL {name} OPTIONS({written}) AS {query}")


def predict(rows, name, query, column):
    return {row["id"]: row[column] for row in rows(f"SELECT * FROM ML.PREDICT(MODEL {name}, ({query}))")}


def positive(probs, label=1):
    return next(entry["prob"] for entry in probs if entry["label"] == label)


def test_a_logistic_regression_is_that_of_scikit_learn(rows, customers, model, table, matrix):
    found = predict(rows, model, f"SELECT * FROM {customers}", "predicted_bought_probs")
    reference = linear_model.LogisticRegression(C=1e6 / len(table), tol=1e-9, max_iter=10_000)
    reference.fit(matrix, [row["bought"] for row in table])
    expected = reference.predict_proba(matrix)[:, 1]
    assert [positive(found[row["id"]]) for row in table] == pytest.approx(expected, abs=1e-5)


def test_a_linear_regression_is_that_of_scikit_learn(rows, dataset, customers, table, matrix):
    query = (
        f"SELECT recency, frequency, city, member, 3 * recency + IF(member, id / 100, 5) AS label, id FROM {customers}"
    )
    train(
        rows,
        f"{dataset}.m",
        f"SELECT * EXCEPT(id) FROM ({query})",
        model_type="'linear_reg'",
        data_split_method="'NO_SPLIT'",
    )
    found = predict(rows, f"{dataset}.m", query, "predicted_label")
    labels = np.array([3 * row["recency"] + (row["id"] / 100 if row["member"] else 5) for row in table])
    expected = linear_model.Ridge(alpha=1e-6 * len(table)).fit(matrix, labels).predict(matrix)
    assert [found[row["id"]] for row in table] == pytest.approx(expected, abs=1e-4)
    (quality,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.m, ({query}))")
    residual = labels - expected
    assert list(quality) == [
        "mean_absolute_error", "mean_squared_error", "mean_squared_log_error", "median_absolute_error", "r2_score",
        "explained_variance",
    ]  # fmt: skip
    assert quality["mean_absolute_error"] == pytest.approx(np.abs(residual).mean(), rel=1e-3)
    assert quality["mean_squared_error"] == pytest.approx((residual**2).mean(), rel=1e-3)
    assert quality["mean_squared_log_error"] == pytest.approx(
        ((np.log1p(labels) - np.log1p(expected)) ** 2).mean(), rel=1e-3
    )
    assert quality["median_absolute_error"] == pytest.approx(
        np.quantile(np.abs(residual), 0.5, method="inverted_cdf"), rel=1e-3
    )
    assert quality["r2_score"] == pytest.approx(1 - (residual**2).mean() / labels.var(), rel=1e-6)
    assert quality["explained_variance"] == pytest.approx(1 - residual.var() / labels.var(), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "reference"),
    [
        ({"l2_reg": 0.02}, {"C": 1 / (1200 * 0.02), "l1_ratio": 0.0}),
        ({"l1_reg": 0.01}, {"C": 1 / (1200 * 0.01), "l1_ratio": 1.0, "solver": "saga"}),
    ],
)
def test_regularisation_is_per_row(rows, dataset, customers, table, matrix, options, reference):
    query = f"SELECT * EXCEPT(id) FROM {customers}"
    train(
        rows, f"{dataset}.m", query, model_type="'LOGISTIC_REG'", input_label_cols="['bought']",
        data_split_method="'NO_SPLIT'", **options,
    )  # fmt: skip
    found = predict(rows, f"{dataset}.m", f"SELECT * FROM {customers}", "predicted_bought_probs")
    expected = linear_model.LogisticRegression(**reference, tol=1e-8, max_iter=10_000, random_state=0)
    expected.fit(matrix, [row["bought"] for row in table])
    assert [positive(found[row["id"]]) for row in table] == pytest.approx(
        expected.predict_proba(matrix)[:, 1], abs=1e-4
    )


def test_a_label_may_have_several_classes(rows, dataset, customers):
    query = f"SELECT id, recency, frequency, IF(recency < 3, 'a', IF(recency < 6, 'b', 'c')) AS label FROM {customers}"
    train(rows, f"{dataset}.m", f"SELECT * EXCEPT(id) FROM ({query})", model_type="'LOGISTIC_REG'", l2_reg=0.001)
    (row,) = rows(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, (SELECT * FROM ({query}) WHERE id = 5))")
    assert row["predicted_label"] == row["label"]
    assert sum(entry["prob"] for entry in row["predicted_label_probs"]) == pytest.approx(1)
    assert [entry["label"] for entry in row["predicted_label_probs"]] == ["c", "b", "a"]
    (quality,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.m, ({query}))")
    assert quality["accuracy"] > 0.8
    assert quality["roc_auc"] > 0.9
    with pytest.raises(BadRequest, match="two classes"):
        rows(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, ({query}), STRUCT(0.5 AS threshold))")


@pytest.mark.parametrize(
    ("label", "values"),
    [
        ("bought = 1", {False, True}),
        ("IF(bought = 1, 'yes', 'no')", {"no", "yes"}),
        ("bought", {0, 1}),
        ("CAST(bought AS FLOAT64) / 2", {0.0, 0.5}),
        ("DATE_ADD(DATE '2024-01-01', INTERVAL bought DAY)", None),
    ],
)
def test_labels_keep_their_type(rows, dataset, customers, label, values):
    train(rows, f"{dataset}.m", f"SELECT recency, city, {label} AS label FROM {customers}", model_type="'LOGISTIC_REG'")
    found = rows(f"SELECT DISTINCT predicted_label AS v FROM ML.PREDICT(MODEL {dataset}.m, TABLE {customers})")
    actual = rows(f"SELECT DISTINCT {label} AS v FROM {customers}")
    assert {(type(row["v"]), row["v"]) for row in found} == {(type(row["v"]), row["v"]) for row in actual}
    assert values is None or {row["v"] for row in found} == values


def test_null_is_the_mean_or_a_category_and_unknown_categories_add_nothing(rows, dataset):
    query = """
        SELECT IF(MOD(id, 4) = 0, NULL, MOD(id, 10)) AS number,
          IF(MOD(id, 3) = 0, NULL, CONCAT('c', CAST(MOD(id, 2) AS STRING))) AS city,
          CAST(MOD(id, 3) = 0 OR MOD(id, 7) = 0 AS INT64) AS label
        FROM UNNEST(GENERATE_ARRAY(1, 400)) AS id"""
    train(rows, f"{dataset}.m", query, model_type="'LOGISTIC_REG'")
    found = predict(
        rows,
        f"{dataset}.m",
        """SELECT 'null' AS id, NULL AS number, 'c0' AS city UNION ALL SELECT 'mean', 4.5, 'c0'
        UNION ALL SELECT 'no city', 4.5, NULL UNION ALL SELECT 'new city', 4.5, 'elsewhere'""",
        "predicted_label_probs",
    )
    mean = rows(f"SELECT AVG(number) AS mean FROM ({query})")[0]["mean"]
    at_mean = predict(rows, f"{dataset}.m", f"SELECT 1 AS id, {mean} AS number, 'c0' AS city", "predicted_label_probs")
    assert positive(found["null"]) == pytest.approx(positive(at_mean[1]))
    assert positive(found["no city"]) > 0.9 > positive(found["mean"])
    assert positive(found["mean"]) < positive(found["new city"]) < positive(found["no city"])


def test_training_does_not_depend_on_the_order_of_the_rows(rows, dataset, customers):
    for name, order in (("a", "id"), ("b", "MOD(id * 7919, 1201) DESC")):
        train(
            rows, f"{dataset}.{name}", f"SELECT * EXCEPT(id) FROM {customers} ORDER BY {order}",
            model_type="'LOGISTIC_REG'", input_label_cols="['bought']",
        )  # fmt: skip
    (difference,) = rows(f"""
        SELECT MAX(ABS(a.predicted_bought_probs[OFFSET(0)].prob - b.predicted_bought_probs[OFFSET(0)].prob)) AS most
        FROM ML.PREDICT(MODEL {dataset}.a, TABLE {customers}) AS a
        JOIN ML.PREDICT(MODEL {dataset}.b, TABLE {customers}) AS b USING (id)""")
    assert difference == {"most": 0.0}
    assert rows(f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.a)") == rows(
        f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.b)"
    )


def test_class_weights_name_whole_floats_as_a_cast_to_string_does(rows, dataset, customers):
    train(
        rows, f"{dataset}.m", f"SELECT recency, CAST(bought AS FLOAT64) AS label FROM {customers}",
        model_type="'LOGISTIC_REG'", class_weights="[STRUCT('0', 1.0), ('1', 1000.0)]", data_split_method="'NO_SPLIT'",
    )  # fmt: skip
    (row,) = rows(f"SELECT recall FROM ML.EVALUATE(MODEL {dataset}.m)")
    assert row["recall"] == 1.0


def test_class_weights_balance_the_classes(rows, dataset, customers):
    query = f"SELECT recency, frequency, CAST(recency > 8 AND MOD(id, 2) = 0 AS INT64) AS label FROM {customers}"
    recalls = []
    for extra in ({}, {"auto_class_weights": "TRUE"}, {"class_weights": "[STRUCT('0', 1.0), STRUCT('1', 1000.0)]"}):
        train(rows, f"{dataset}.m", query, model_type="'LOGISTIC_REG'", l2_reg=0.01, **extra)
        recalls.append(rows(f"SELECT recall FROM ML.EVALUATE(MODEL {dataset}.m, ({query}))")[0]["recall"])
    assert recalls[0] < recalls[1] <= recalls[2] == 1.0


@pytest.mark.parametrize(
    ("split", "differs"),
    [
        ("data_split_method='NO_SPLIT'", False),
        ("data_split_method='AUTO_SPLIT'", True),
        ("data_split_method='RANDOM', data_split_eval_fraction=0.3", True),
    ],
)
def test_a_random_split_holds_rows_out(rows, dataset, customers, split, differs):
    query = f"SELECT recency, MOD(id, 2) AS label FROM {customers}"
    rows(f"CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG', {split}) AS {query}")
    (at_training,) = rows(f"SELECT mean_squared_error AS e FROM ML.EVALUATE(MODEL {dataset}.m)")
    (on_all,) = rows(f"SELECT mean_squared_error AS e FROM ML.EVALUATE(MODEL {dataset}.m, ({query}))")
    assert (at_training["e"] != pytest.approx(on_all["e"], rel=1e-9)) is differs


@pytest.mark.parametrize(
    ("split", "column", "held_out"),
    [
        ("data_split_method='SEQ', data_split_col='s', data_split_eval_fraction=0.1", "id", "id > 1080"),
        ("data_split_method='SEQ', data_split_col='s'", "id", "id > 960"),
        ("data_split_method='SEQ', data_split_col='s'", "IF(id > 700, NULL, 7)", "id > 700"),
        ("data_split_method='SEQ', data_split_col='s'", "IF(id > 1200 - 300, 'b', 'a')", "id > 900"),
        ("data_split_method='CUSTOM', data_split_col='s'", "MOD(id, 7) = 0", "MOD(id, 7) = 0"),
        ("data_split_method='CUSTOM', data_split_col='s'", "IF(id > 600, NULL, FALSE)", "id > 600"),
    ],
)
def test_a_split_by_a_column_holds_its_rows_out(rows, dataset, customers, split, column, held_out):
    """The label is 1 only in the rows to hold out, so the model learns 0 and its error in evaluation is 1."""
    rows(
        f"CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG', {split}) AS "
        f"SELECT 1.0 AS x, {column} AS s, IF({held_out}, 1, 0) AS label FROM {customers}"
    )
    assert rows(f"SELECT ROUND(mean_absolute_error, 3) AS e FROM ML.EVALUATE(MODEL {dataset}.m)") == [{"e": 1.0}]
    (row,) = rows(f"SELECT * FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 1.0 AS x))")
    assert row == {"predicted_label": pytest.approx(0.0, abs=1e-6), "x": 1.0}


@pytest.mark.parametrize(
    ("options", "query", "message"),
    [
        ("", "SELECT 1 AS x, 2 AS label", "needs the option model_type"),
        ("model_type='DEEP'", "SELECT 1 AS x, 2 AS label", "Model type 'DEEP' is unknown"),
        ("model_type='LINEAR_REG', wisdom=1", "SELECT 1 AS x, 2 AS label", "Option 'wisdom' of model type LINEAR_REG"),
        ("model_type='LINEAR_REG', auto_class_weights=TRUE", "SELECT 1 AS x, 2 AS label", "'auto_class_weights'"),
        ("model_type='LINEAR_REG', l2_reg=-1", "SELECT 1 AS x, 2 AS label", "'l2_reg' .* at least 0, not -1"),
        ("model_type='LINEAR_REG', warm_start=TRUE", "SELECT 1 AS x, 2 AS label", "'warm_start' .* can only be False"),
        ("model_type='LINEAR_REG', data_split_method='HALF'", "SELECT 1 AS x, 2 AS label", "'data_split_method'"),
        (
            "model_type='LINEAR_REG', data_split_method='SEQ'",
            "SELECT 1 AS x, 2 AS label",
            "needs the option 'data_split_col'",
        ),
        (
            "model_type='LINEAR_REG', input_label_cols=['y']",
            "SELECT 1 AS x, 2 AS label",
            "label column 'y' .* x, label",
        ),
        ("model_type='LINEAR_REG', input_label_cols=['y', 'z']", "SELECT 1 AS x, 2 AS y, 3 AS z", "name of one column"),
        ("model_type='LINEAR_REG'", "SELECT 1 AS x, 2 AS y", "Unable to identify the label column"),
        ("model_type='LINEAR_REG'", "SELECT 1 AS label", "needs features"),
        ("model_type='LINEAR_REG'", "SELECT 1 AS x, 'a' AS label", "must be a number, not string"),
        ("model_type='LINEAR_REG'", "SELECT 1 AS x, 1 AS label LIMIT 0", "returned no rows"),
        ("model_type='LINEAR_REG'", "SELECT CAST('nan' AS FLOAT64) AS x, 1 AS label", "'x' contains NaN"),
        ("model_type='LINEAR_REG'", "SELECT STRUCT(STRUCT(1 AS b) AS a) AS x, 1 AS label", "STRUCT in a STRUCT"),
        (
            "model_type='LOGISTIC_REG'",
            "SELECT 1 AS x, CAST(NULL AS INT64) AS label UNION ALL SELECT 1, 1",
            "contains 1 NULL",
        ),
        ("model_type='LOGISTIC_REG'", "SELECT 1 AS x, 1 AS label", "has 1 distinct values"),
        (
            "model_type='LOGISTIC_REG'",
            "SELECT 1 AS x, STRUCT(1 AS a) AS label",
            "label column 'label' is of type struct",
        ),
        (
            "model_type='LOGISTIC_REG'",
            "SELECT id AS x, id AS label FROM UNNEST(GENERATE_ARRAY(1, 60)) AS id",
            "2 to 50",
        ),
        (
            "model_type='LINEAR_REG', learn_rate=0.1",
            "SELECT 1 AS x, 2 AS label",
            "'learn_rate' needs learn_rate_strategy='CONSTANT'",
        ),
        (
            "model_type='LINEAR_REG', optimize_strategy='NORMAL_EQUATION', l1_reg=1",
            "SELECT 1 AS x, 2 AS label",
            "'optimize_strategy' cannot be 'NORMAL_EQUATION' together with l1_reg",
        ),
        (
            "model_type='LOGISTIC_REG', optimize_strategy='NORMAL_EQUATION'",
            "SELECT 1 AS x, 2 AS label",
            "can only be 'NORMAL_EQUATION' for model type LINEAR_REG",
        ),
        (
            "model_type='LINEAR_REG', data_split_eval_fraction=0.1",
            "SELECT 1 AS x, 2 AS label",
            "'data_split_eval_fraction' goes with",
        ),
        (
            "model_type='LOGISTIC_REG', class_weights=[('2', 1.0)]",
            "SELECT 1 AS x, 0 AS label UNION ALL SELECT 2, 1",
            "names \\['2'\\]",
        ),
        ("model_type='LOGISTIC_REG'", "SELECT nothing AS label", "nothing"),
    ],
)
def test_what_cannot_be_trained_is_an_invalid_query(client, rows, dataset, options, query, message):
    with pytest.raises(BadRequest, match=message) as raised:
        rows(f"CREATE MODEL {dataset}.m OPTIONS({options}) AS {query}")
    assert raised.value.errors[0]["reason"] == "invalidQuery"
    assert list(client.list_models(dataset)) == []


SOME_ROWS = "SELECT 1 AS x, 0 AS label UNION ALL SELECT 2, 1"


def test_the_model_resource_and_the_job_describe_the_model(client, dataset):
    job = client.query(f"CREATE MODEL {dataset}.m OPTIONS(model_type='LOGISTIC_REG') AS {SOME_ROWS}")
    job.result()
    assert (job.statement_type, job.ddl_operation_performed) == ("CREATE_MODEL", "CREATE")
    model = client.get_model(f"{dataset}.m")
    assert model.model_type == "LOGISTIC_REGRESSION"
    assert [field.name for field in model.feature_columns] == ["x"]
    assert [field.name for field in model.label_columns] == ["label"]
    assert [item.model_id for item in client.list_models(dataset)] == ["m"]


def test_creating_again_follows_the_statement(client, rows, dataset):
    name = f"{dataset}.m"
    for query in (SOME_ROWS, "SELECT 1 AS x, 1 AS label UNION ALL SELECT 2, 0"):
        job = client.query(f"CREATE MODEL IF NOT EXISTS {name} OPTIONS(model_type='LOGISTIC_REG') AS {query}")
        job.result()
    assert job.ddl_operation_performed == "SKIP"
    predicted = f"SELECT predicted_label AS y FROM ML.PREDICT(MODEL {name}, (SELECT 2 AS x))"
    assert rows(predicted) == [{"y": 1}]
    with pytest.raises(Conflict, match="Already Exists"):
        rows(f"CREATE MODEL {name} OPTIONS(model_type='LOGISTIC_REG') AS {SOME_ROWS}")
    rows(
        f"CREATE OR REPLACE MODEL {name} OPTIONS(model_type='LOGISTIC_REG') AS "
        "SELECT 1 AS x, 1 AS label UNION ALL SELECT 2, 0"
    )
    assert rows(predicted) == [{"y": 0}]


def test_a_model_needs_its_dataset(rows):
    with pytest.raises(NotFound, match="absent"):
        rows(f"CREATE MODEL absent.m OPTIONS(model_type='LOGISTIC_REG') AS {SOME_ROWS}")


def test_a_failed_replacement_leaves_the_model(rows, dataset):
    rows(f"CREATE MODEL {dataset}.m OPTIONS(model_type='LOGISTIC_REG') AS {SOME_ROWS}")
    with pytest.raises(BadRequest):
        rows(f"CREATE OR REPLACE MODEL {dataset}.m OPTIONS(model_type='LOGISTIC_REG') AS SELECT 1 AS x, 1 AS label")
    assert rows(f"SELECT predicted_label AS y FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 2 AS x))") == [{"y": 1}]


def test_a_model_is_replaced_in_one_step(local_bigquery, rows, dataset):
    """A reader sees one of two models, never a mixture, while one replaces the other repeatedly."""

    def replace(sign):
        rows(
            f"CREATE OR REPLACE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG') AS "
            f"SELECT x, {sign} * x AS label FROM UNNEST([1, 2, 3, 4]) AS x"
        )

    replace(1)
    seen, stop = set(), threading.Event()

    def read():
        client = local_bigquery.client()
        while not stop.is_set():
            query = f"SELECT predicted_label AS y FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 10 AS x))"
            seen.update(round(row["y"], 2) for row in client.query(query).result())

    reader = threading.Thread(target=read)
    reader.start()
    for sign in (-1, 1, -1, 1, -1):
        replace(sign)
    stop.set()
    reader.join()
    assert seen == {10.0, -10.0}


def test_drop_model_removes_the_model(client, rows, dataset):
    rows(f"CREATE MODEL {dataset}.m OPTIONS(model_type='LOGISTIC_REG') AS {SOME_ROWS}")
    for operation in ("DROP", "SKIP"):
        job = client.query(f"DROP MODEL IF EXISTS {dataset}.m")
        assert list(job.result()) == []
        assert (job.statement_type, job.ddl_operation_performed) == ("DROP_MODEL", operation)
    with pytest.raises(NotFound, match=f"Not found: Model demo:{dataset}.m"):
        rows(f"DROP MODEL {dataset}.m")
    with pytest.raises(NotFound):
        rows(f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.m)")


def test_a_model_deleted_through_the_api_is_gone(client, rows, dataset):
    rows(f"CREATE MODEL {dataset}.m OPTIONS(model_type='LOGISTIC_REG') AS {SOME_ROWS}")
    client.delete_model(f"{dataset}.m")
    with pytest.raises(NotFound):
        rows(f"SELECT * FROM ML.EVALUATE(MODEL {dataset}.m)")
