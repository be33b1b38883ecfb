"""ML.PREDICT and ML.EVALUATE in statements of all kinds."""

import numpy as np
import pytest
from google.api_core.exceptions import BadRequest, NotFound
from sklearn import metrics


@pytest.fixture(scope="module")
def probabilities(rows, customers, model):
    """The probability of `bought` = 1 by id, from ML.PREDICT."""
    found = rows(
        f"SELECT id, (SELECT p.prob FROM UNNEST(predicted_bought_probs) AS p WHERE p.label = 1) AS p "
        f"FROM ML.PREDICT(MODEL {model}, TABLE {customers})"
    )
    return {row["id"]: row["p"] for row in found}


def test_a_prediction_has_the_label_its_probabilities_and_the_input(rows, customers, model):
    (row,) = rows(f"SELECT * FROM ML.PREDICT(MODEL {model}, (SELECT * FROM {customers} WHERE id = 22))")
    assert list(row) == ["predicted_bought", "predicted_bought_probs", *_columns(rows, customers)]
    assert row["frequency"] is None
    positive, negative = row["predicted_bought_probs"]
    assert (positive["label"], negative["label"]) == (1, 0)
    assert positive["prob"] + negative["prob"] == pytest.approx(1)
    assert row["predicted_bought"] == (positive["prob"] > negative["prob"])


def _columns(rows, table):
    (row,) = rows(f"SELECT * FROM {table} LIMIT 1")
    return list(row)


def test_input_columns_keep_their_types(client, model):
    source = """
        SELECT 1.5 AS recency, 3 AS frequency, 'city1' AS city, TRUE AS member, DATE '2024-02-29' AS d,
          TIMESTAMP '2024-01-01 00:00:00.000001+00' AS ts, DATETIME '2024-01-01T10:00:00' AS dt, TIME '10:11:12' AS t,
          NUMERIC '1.25' AS n, b'ab' AS b, STRUCT(1 AS x, 'y' AS y) AS s, [1, 2] AS a, CAST(NULL AS STRING) AS z"""
    expected = client.query(source).result()
    found = client.query(
        f"SELECT * EXCEPT(predicted_bought, predicted_bought_probs) FROM ML.PREDICT(MODEL {model}, ({source}))"
    ).result()
    assert [(field.name, field.field_type) for field in found.schema] == [
        (field.name, field.field_type) for field in expected.schema
    ]
    assert [dict(row) for row in found] == [dict(row) for row in expected]


def test_metrics_are_those_of_scikit_learn(rows, customers, model, probabilities):
    (found,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {model}, (SELECT * FROM {customers} WHERE MOD(id, 3) = 0))")
    truth = {row["id"]: row["bought"] for row in rows(f"SELECT id, bought FROM {customers} WHERE MOD(id, 3) = 0")}
    actual = np.array(list(truth.values()))
    probability = np.array([probabilities[key] for key in truth])
    predicted = probability >= 0.5
    assert list(found) == ["precision", "recall", "accuracy", "f1_score", "log_loss", "roc_auc"]
    assert found == pytest.approx(
        {
            "precision": metrics.precision_score(actual, predicted),
            "recall": metrics.recall_score(actual, predicted),
            "accuracy": metrics.accuracy_score(actual, predicted),
            "f1_score": metrics.f1_score(actual, predicted),
            "log_loss": metrics.log_loss(actual, probability),
            "roc_auc": metrics.roc_auc_score(actual, probability),
        },
        abs=1e-12,
    )


def test_without_an_input_the_metrics_of_the_training_are_returned(rows, customers, model):
    (at_training,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {model})")
    (now,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {model}, TABLE {customers})")
    assert at_training == pytest.approx(now, abs=1e-9)


def test_two_evaluations_in_one_statement_make_a_table(rows, dataset, customers, model):
    rows(f"""
        CREATE OR REPLACE TABLE {dataset}.evaluation AS
        SELECT 'even' AS role, * FROM ML.EVALUATE(MODEL {model}, (
          WITH held_out AS (SELECT * FROM {customers}) SELECT * FROM held_out WHERE MOD(id, 2) = 0))
        UNION ALL
        SELECT 'odd', * FROM ML.EVALUATE(MODEL {model}, (SELECT * FROM {customers} WHERE MOD(id, 2) = 1))""")
    even, odd = rows(f"SELECT * FROM {dataset}.evaluation ORDER BY role")
    assert (even["role"], odd["role"]) == ("even", "odd")
    (alone,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {model}, (SELECT * FROM {customers} WHERE MOD(id, 2) = 1))")
    assert {name: odd[name] for name in alone} == pytest.approx(alone)
    assert even["accuracy"] != odd["accuracy"]


def test_the_prediction_query_of_a_pipeline(rows, dataset, customers, model, probabilities):
    rows(f"""
        CREATE OR REPLACE TABLE {dataset}.predictions AS
        SELECT CAST(entity_id AS STRING) AS entity_id, TO_JSON_STRING(prediction) AS payload FROM (
          SELECT id AS entity_id, STRUCT(ROUND((
            SELECT p.prob FROM UNNEST(predicted_bought_probs) AS p WHERE p.label = 1), 2) AS probability) AS prediction
          FROM ML.PREDICT(MODEL {model}, (WITH features AS (SELECT * FROM {customers}) SELECT * FROM features))
        )""")
    found = {row["entity_id"]: row["payload"] for row in rows(f"SELECT * FROM {dataset}.predictions")}
    assert len(found) == 1200
    assert float(found["7"].removeprefix('{"probability":').removesuffix("}")) == pytest.approx(
        probabilities[7], abs=0.005
    )


def test_inputs_see_the_expressions_of_the_statement_around_them(rows, customers, model, probabilities):
    found = rows(
        f"""
        WITH everyone AS (SELECT * FROM {customers}), few AS (SELECT * FROM everyone WHERE id <= @last)
        SELECT a.id, (SELECT p.prob FROM UNNEST(a.predicted_bought_probs) AS p WHERE p.label = 1) AS p
        FROM ML.PREDICT(MODEL {model}, (SELECT * FROM few)) AS a JOIN few AS b ON a.id = b.id
        WHERE a.id IN (SELECT id FROM ML.PREDICT(MODEL {model}, TABLE few) WHERE id > @first)
        ORDER BY id""",
        first=2,
        last=5,
    )
    assert found == [{"id": key, "p": pytest.approx(probabilities[key])} for key in (3, 4, 5)]


def test_a_prediction_can_be_the_input_of_another(rows, customers, model):
    (row,) = rows(f"""
        SELECT COUNT(*) AS n FROM ML.PREDICT(MODEL {model}, (
          SELECT * EXCEPT(predicted_bought, predicted_bought_probs)
          FROM ML.PREDICT(MODEL {model}, TABLE {customers})))""")
    assert row == {"n": 1200}


def test_results_can_be_inserted(rows, dataset, customers, model):
    rows(f"CREATE TABLE {dataset}.t (id INT64, label INT64)")
    rows(
        f"INSERT INTO {dataset}.t (id, label) "
        f"SELECT id, predicted_bought FROM ML.PREDICT(MODEL {model}, TABLE {customers})"
    )
    assert rows(f"SELECT COUNT(*) AS n, COUNT(DISTINCT label) AS labels FROM {dataset}.t") == [{"n": 1200, "labels": 2}]


@pytest.mark.parametrize("threshold", ["0.9", "@threshold"])
def test_a_threshold_moves_the_decision(rows, customers, model, probabilities, threshold):
    (row,) = rows(
        f"SELECT SUM(predicted_bought) AS n FROM ML.PREDICT(MODEL {model}, TABLE {customers}, "
        f"STRUCT({threshold} AS threshold))",
        threshold=0.9,
    )
    assert row["n"] == sum(p >= 0.9 for p in probabilities.values())
    assert 0 < row["n"] < sum(p >= 0.5 for p in probabilities.values())
    (found,) = rows(
        f"SELECT * FROM ML.EVALUATE(MODEL {model}, TABLE {customers}, STRUCT({threshold} AS threshold))", threshold=0.9
    )
    (usual,) = rows(f"SELECT * FROM ML.EVALUATE(MODEL {model}, TABLE {customers})")
    assert found["precision"] > usual["precision"]
    assert found["recall"] < usual["recall"]
    assert found["roc_auc"] == usual["roc_auc"]


def test_no_rows_in_no_rows_out(rows, customers, model):
    assert rows(f"SELECT * FROM ML.PREDICT(MODEL {model}, (SELECT * FROM {customers} WHERE id < 0))") == []


@pytest.mark.parametrize(
    ("sql", "error", "message"),
    [
        ("SELECT * FROM ML.PREDICT(MODEL shared.absent, TABLE {t})", NotFound, "Not found: Model demo:shared.absent"),
        ("SELECT * FROM ML.PREDICT(MODEL {m}, (SELECT * FROM shared.absent))", NotFound, "shared.absent"),
        ("SELECT * FROM ML.PREDICT(MODEL {m}, (SELECT nothing FROM {t}))", BadRequest, "nothing"),
        (
            "SELECT * FROM ML.PREDICT(MODEL {m}, (SELECT id, city FROM {t}))",
            BadRequest,
            "'recency' of the model is missing",
        ),
        (
            "SELECT * FROM ML.PREDICT(MODEL {m}, (SELECT * REPLACE('x' AS recency) FROM {t}))",
            BadRequest,
            "'recency' is string",
        ),
        ("SELECT * FROM ML.PREDICT(MODEL {m})", BadRequest, "ML.PREDICT needs an input"),
        (
            "SELECT * FROM ML.PREDICT(MODEL {m}, TABLE {t}, STRUCT(2 AS threshold))",
            BadRequest,
            "'threshold' of ML.PREDICT",
        ),
        (
            "SELECT * FROM ML.PREDICT(MODEL {m}, TABLE {t}, STRUCT(1 AS trial_id))",
            BadRequest,
            "'trial_id' of ML.PREDICT",
        ),
        (
            "SELECT * FROM ML.PREDICT(MODEL {m}, TABLE {t}, STRUCT(FALSE AS keep_original_columns))",
            BadRequest,
            "only applies to PCA models",
        ),
        (
            "SELECT * FROM ML.EVALUATE(MODEL {m}, (SELECT * EXCEPT(bought) FROM {t}))",
            BadRequest,
            "label column 'bought'",
        ),
        ("SELECT * FROM ML.EVALUATE(MODEL {m}, (SELECT * FROM {t} WHERE id < 0))", BadRequest, "input is empty"),
        (
            "SELECT * FROM ML.EVALUATE(MODEL {m}, (SELECT * REPLACE(7 AS bought) FROM {t}))",
            BadRequest,
            "not seen in training",
        ),
        (
            "SELECT * FROM ML.FORECAST(MODEL {m}, STRUCT(3 AS horizon))",
            BadRequest,
            "ML.FORECAST is not supported for models of type LOGISTIC_REG",
        ),
        ("SELECT * FROM ML.PREDICT(MODEL buys, TABLE {t})", BadRequest, "must be qualified with a dataset"),
        ("CREATE VIEW shared.v AS SELECT * FROM ML.PREDICT(MODEL {m}, TABLE {t})", BadRequest, "CREATE VIEW"),
    ],
)
def test_errors_are_those_of_a_query_job(rows, customers, model, sql, error, message):
    with pytest.raises(error, match=message):
        rows(sql.format(m=model, t=customers))


def test_temporary_tables_are_gone_after_success_and_failure(client, rows, customers, model):
    rows(f"SELECT * FROM ML.PREDICT(MODEL {model}, TABLE {customers})")
    with pytest.raises(BadRequest):
        rows(f"SELECT ERROR(city) FROM ML.PREDICT(MODEL {model}, TABLE {customers})")
    assert list(client.list_tables("_bigquery_ml")) == []
    assert "_bigquery_ml" not in [dataset.dataset_id for dataset in client.list_datasets()]
    assert "_bigquery_ml" in [dataset.dataset_id for dataset in client.list_datasets(include_all=True)]


def test_input_columns_of_types_that_the_emulator_changes_in_a_table_keep_theirs(columns, rows, model):
    source = """
        SELECT 1.5 AS recency, 3 AS frequency, 'city1' AS city, TRUE AS member, SUM(x) AS s, COUNTIF(x > 0) AS c,
          ANY_VALUE(JSON '{"a": 7}') AS j
        FROM UNNEST([9007199254740993]) AS x"""
    predicted = f"SELECT * EXCEPT(predicted_bought, predicted_bought_probs) FROM ML.PREDICT(MODEL {model}, ({source}))"
    assert columns(predicted) == columns(source)
    assert rows(predicted) == rows(source)
    with pytest.raises(BadRequest, match="'i' holds an INTERVAL"):
        rows(predicted.replace("SUM(x) AS s", "MAX(INTERVAL 1 DAY) AS i"))


def test_a_label_of_another_type_than_in_training_is_named(rows, customers, model):
    with pytest.raises(BadRequest, match="label column 'bought' is date32"):
        rows(
            f"SELECT * FROM ML.EVALUATE(MODEL {model}, "
            f"(SELECT * REPLACE(DATE '2026-01-01' AS bought) FROM {customers}))"
        )
