"""SQL that the emulator refuses or misinterprets works after a rewrite; other SQL keeps its text."""

import json

import pytest
import sqlglot
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery

from local_bigquery.run.jobs import QueryJob
from local_bigquery.sql.generator import to_sql


@pytest.fixture(scope="module")
def orders(client, rows):
    """The name of a table of two customers with an array of structs, an array of numbers, and times."""
    client.create_dataset("rewrites")
    rows("""
        CREATE TABLE rewrites.orders AS SELECT * FROM UNNEST([
          STRUCT(1 AS id, [STRUCT('a' AS label, 0.7 AS prob, [STRUCT(10 AS n)] AS parts),
                           STRUCT('b' AS label, 0.3 AS prob, [STRUCT(20 AS n), STRUCT(30 AS n)] AS parts)] AS probs,
            [5, 6] AS numbers, TIMESTAMP '2026-11-23 01:02:03+00' AS ts, DATETIME '2026-11-23T01:02:03.5' AS dt),
          STRUCT(2 AS id, [STRUCT('a' AS label, 0.1 AS prob, [STRUCT(40 AS n)] AS parts)] AS probs,
            [7] AS numbers, TIMESTAMP '2026-01-01 00:00:00.00012+00' AS ts, DATETIME '2026-01-01T00:00:00' AS dt)])""")
    yield "rewrites.orders"
    client.delete_dataset("rewrites", delete_contents=True)


# fields of an unnested array


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT id, (SELECT prob FROM UNNEST(probs) WHERE label = 'a') AS v FROM {t}", [(1, 0.7), (2, 0.1)]),
        ("SELECT id, (SELECT prob FROM UNNEST(probs) AS p WHERE label = 'a') AS v FROM {t}", [(1, 0.7), (2, 0.1)]),
        ("SELECT id, (SELECT MAX(prob) FROM UNNEST(t.probs) WHERE id = 1) AS v FROM {t} AS t", [(1, 0.7), (2, None)]),
        ("SELECT id, prob FROM {t}, UNNEST(probs) WHERE label = 'b'", [(1, 0.3)]),
        ("SELECT id, SUM(prob) FROM {t} CROSS JOIN UNNEST(probs) GROUP BY id", [(1, 1.0), (2, 0.1)]),
        ("SELECT id, label FROM {t} LEFT JOIN UNNEST(probs) AS p ORDER BY id, prob", [(1, "b"), (1, "a"), (2, "a")]),
        (
            "SELECT id, (SELECT STRING_AGG(label ORDER BY offset DESC) FROM UNNEST(probs) WITH OFFSET) AS v FROM {t}",
            [(1, "b,a"), (2, "a")],
        ),
        ("SELECT id FROM {t} WHERE EXISTS(SELECT 1 FROM UNNEST(probs) WHERE prob > 0.5)", [(1,)]),
        (
            "SELECT id, label, SUM(n) FROM {t}, UNNEST(probs), UNNEST(parts) GROUP BY id, label ORDER BY id, label",
            [(1, "a", 10), (1, "b", 50), (2, "a", 40)],
        ),
        (
            "WITH x AS (SELECT id, probs q FROM {t}) SELECT id, (SELECT prob FROM UNNEST(q) WHERE label = 'b') FROM x",
            [(1, 0.3), (2, None)],
        ),
        ("SELECT id, (SELECT * FROM UNNEST(numbers) LIMIT 1) AS v FROM {t}", [(1, 5), (2, 7)]),
        ("SELECT id, number FROM {t}, UNNEST(numbers) AS number WHERE number > 5", [(1, 6), (2, 7)]),
        (
            "SELECT (SELECT STRING_AGG(label ORDER BY prob) FROM UNNEST(probs)) AS prob FROM {t} WHERE id = 1",
            [("b,a",)],
        ),
        ("SELECT a FROM UNNEST([STRUCT(1 AS a), STRUCT(2)]) WHERE a > 1", [(2,)]),
    ],
)
def test_fields_of_an_unnested_array_need_no_alias(client, orders, sql, expected):
    found = [tuple(row) for row in client.query(sql.format(t=orders)).result()]
    assert sorted(found, key=str) == [pytest.approx(row) for row in sorted(expected, key=str)]


def test_a_field_that_is_also_a_column_is_ambiguous(rows, orders):
    with pytest.raises(BadRequest, match="Column name prob is ambiguous"):
        rows(f"SELECT prob FROM (SELECT 1 AS prob, probs FROM {orders}), UNNEST(probs)")


# SELECT AS STRUCT


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT (SELECT AS STRUCT t.* EXCEPT (probs, ts, dt)) AS s FROM {t} AS t", {"id": 1, "numbers": [5, 6]}),
        (
            "SELECT (SELECT AS STRUCT t.* EXCEPT (probs, ts, dt) REPLACE (id * 10 AS id), 'x' AS y) AS s FROM {t} AS t",
            {"id": 10, "numbers": [5, 6], "y": "x"},
        ),
        (
            "SELECT ARRAY(SELECT AS STRUCT * EXCEPT (parts) FROM UNNEST(probs) ORDER BY prob)[OFFSET(0)] AS s FROM {t}",
            {"label": "b", "prob": 0.3},
        ),
        (
            "SELECT (SELECT AS STRUCT p.* EXCEPT (parts) FROM UNNEST(probs) AS p WHERE prob > 0.5) AS s FROM {t}",
            {"label": "a", "prob": 0.7},
        ),
        ("WITH x AS (SELECT id, dt FROM {t}) SELECT (SELECT AS STRUCT * EXCEPT (dt) FROM x LIMIT 1) AS s", {"id": 1}),
        (
            "SELECT ARRAY_AGG((SELECT AS STRUCT t.* EXCEPT (probs, ts, dt)) ORDER BY id)[OFFSET(0)] AS s FROM {t} AS t",
            {"id": 1, "numbers": [5, 6]},
        ),
        ("SELECT STRUCT(id, t.numbers) AS s FROM {t} AS t", {"id": 1, "numbers": [5, 6]}),
        (
            "SELECT (SELECT AS STRUCT label, id * ROUND(prob, 1) AS x FROM UNNEST(probs) LIMIT 1) AS s FROM {t}",
            {"label": "a", "x": 0.7},
        ),
    ],
)
def test_a_struct_has_the_columns_of_a_star(rows, orders, sql, expected):
    assert rows(f"SELECT s FROM ({sql.format(t=orders)}) LIMIT 1") == [{"s": expected}]


def test_select_as_struct_as_a_statement_or_table_shows_columns(rows, orders):
    assert rows(f"SELECT AS STRUCT id, numbers FROM {orders} WHERE id = 2") == [{"id": 2, "numbers": [7]}]
    assert rows(f"SELECT id + 1 AS n FROM (SELECT AS STRUCT * FROM {orders}) WHERE id = 2") == [{"n": 3}]


def test_a_struct_that_is_inserted_takes_the_names_of_the_column(rows, dataset):
    rows(f"CREATE TABLE {dataset}.t (s STRUCT<a INT64>)")
    rows(f"INSERT INTO {dataset}.t (s) SELECT STRUCT(x) FROM UNNEST([3]) AS x")
    assert rows(f"SELECT s FROM {dataset}.t") == [{"s": {"a": 3}}]


# MERGE ... INSERT ROW


def test_merge_inserts_the_row_of_the_source(rows, dataset, orders):
    rows(f"CREATE TABLE {dataset}.t AS SELECT 1 AS id, 'old' AS name")
    rows(f"""
        MERGE {dataset}.t AS t USING (SELECT id, 'new' AS name FROM {orders}) AS s ON t.id = s.id
        WHEN MATCHED THEN UPDATE SET name = CONCAT(t.name, '!') WHEN NOT MATCHED THEN INSERT ROW""")
    assert rows(f"SELECT * FROM {dataset}.t ORDER BY id") == [{"id": 1, "name": "old!"}, {"id": 2, "name": "new"}]


# JSON


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("ts", "2026-11-23T01:02:03Z"),
        ("dt", "2026-11-23T01:02:03.500"),
        ("[ts]", ["2026-11-23T01:02:03Z"]),
        ("STRUCT(id, ts AS seen)", {"id": 1, "seen": "2026-11-23T01:02:03Z"}),
        ("STRUCT(STRUCT([STRUCT(ts)] AS b) AS a)", {"a": {"b": [{"ts": "2026-11-23T01:02:03Z"}]}}),
        ("(SELECT AS STRUCT t.* EXCEPT (probs, numbers, dt))", {"id": 1, "ts": "2026-11-23T01:02:03Z"}),
        ("(SELECT STRUCT(t.ts, COUNT(*) AS n) FROM UNNEST(numbers))", {"ts": "2026-11-23T01:02:03Z", "n": 2}),
        (
            "ARRAY(SELECT STRUCT(t.ts, n) FROM UNNEST(numbers) AS n WHERE n > 5)",
            [{"ts": "2026-11-23T01:02:03Z", "n": 6}],
        ),
        ("IF(id = 1, STRUCT(ts, 'x' AS s), NULL)", {"ts": "2026-11-23T01:02:03Z", "s": "x"}),
        (
            "STRUCT('2026-11-23 01:02:03+00' AS text, DATE '2026-01-01' AS day)",
            {"text": "2026-11-23 01:02:03+00", "day": "2026-01-01"},
        ),
    ],
)
def test_times_in_json_have_bigquerys_format(rows, orders, expression, expected):
    sql = f"SELECT TO_JSON_STRING({expression}) AS text, TO_JSON({expression}) AS j FROM {orders} AS t WHERE id = 1"
    (row,) = rows(sql)
    assert json.loads(row["text"]) == expected
    assert row["j"] == expected


def test_a_row_as_json_has_the_times_of_the_row(rows, orders):
    (row,) = rows(f"WITH x AS (SELECT id, ts, dt FROM {orders} WHERE id = 2) SELECT TO_JSON_STRING(x) AS text FROM x")
    assert row["text"] == '{"id":2,"ts":"2026-01-01T00:00:00.000120Z","dt":"2026-01-01T00:00:00"}'


def test_times_of_groups_are_formatted_too(rows, orders):
    (row,) = rows(f"""
        SELECT TO_JSON_STRING(STRUCT(k, MAX(ts) AS last, ARRAY_AGG(STRUCT(id, ts) ORDER BY id) AS every)) AS text
        FROM (SELECT 'k' AS k, * FROM {orders}) GROUP BY k""")
    assert json.loads(row["text"]) == {
        "k": "k",
        "last": "2026-11-23T01:02:03Z",
        "every": [{"id": 1, "ts": "2026-11-23T01:02:03Z"}, {"id": 2, "ts": "2026-01-01T00:00:00.000120Z"}],
    }


@pytest.mark.parametrize("micros", [0, 1, 120, 1000, 120_000, 123_450, 500_000])
def test_fractions_of_a_second_have_0_3_or_6_digits(rows, micros):
    time = f"TIMESTAMP_ADD(TIMESTAMP '2026-01-01 00:00:00+00', INTERVAL {micros} MICROSECOND)"
    (row,) = rows(f"SELECT TO_JSON_STRING({time}) AS t")
    digits = f"{micros:06d}"
    while digits.endswith("000"):
        digits = digits[:-3]
    assert row["t"] == f'"2026-01-01T00:00:00{"." if digits else ""}{digits}Z"'


# NUMERIC


def test_numeric_keeps_nine_digits_after_the_point(rows):
    (row,) = rows("SELECT CAST('1.23456' AS NUMERIC) AS a, SAFE_CAST(1.5 AS NUMERIC) AS b, NUMERIC '2.000000001' AS c")
    assert {name: str(value) for name, value in row.items()} == {
        "a": "1.234560000",
        "b": "1.500000000",
        "c": "2.000000001",
    }
    assert "NUMERIC '1.5'" in to_sql(sqlglot.parse_one("SELECT NUMERIC '1.5'", read="bigquery"))


# INFORMATION_SCHEMA.MODELS


@pytest.mark.parametrize(
    "view",
    [
        "{d}.INFORMATION_SCHEMA.MODELS",
        "`{d}`.INFORMATION_SCHEMA.MODELS",
        "`demo.{d}.INFORMATION_SCHEMA.MODELS`",
        "demo.{d}.INFORMATION_SCHEMA.MODELS AS MODELS",
    ],
)
def test_the_models_of_a_dataset_are_listed(client, rows, dataset, view):
    assert rows(f"SELECT * FROM {view.format(d=dataset)}") == []
    rows(f"CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG') AS SELECT x, x AS label FROM UNNEST([1, 2]) AS x")
    result = client.query(f"SELECT * FROM {view.format(d=dataset)} WHERE MODELS.model_name = 'm'").result()
    assert [(field.name, field.field_type) for field in result.schema] == [
        ("model_catalog", "STRING"),
        ("model_schema", "STRING"),
        ("model_name", "STRING"),
        ("model_type", "STRING"),
        ("creation_time", "TIMESTAMP"),
        ("last_modified_time", "TIMESTAMP"),
    ]
    (row,) = result
    model = client.get_model(f"{dataset}.m")
    assert dict(row) == {
        "model_catalog": "demo",
        "model_schema": dataset,
        "model_name": "m",
        "model_type": "LINEAR_REGRESSION",
        "creation_time": model.created,
        "last_modified_time": model.modified,
    }


def test_the_models_of_a_region_are_those_of_its_datasets(rows, model):
    found = rows("SELECT CONCAT(model_schema, '.', model_name) AS m FROM `region-us`.INFORMATION_SCHEMA.MODELS")
    assert {"m": model} in found


def test_the_models_of_an_absent_dataset_are_not_found(rows):
    with pytest.raises(NotFound):
        rows("SELECT * FROM absent.INFORMATION_SCHEMA.MODELS")


# text without rewrites


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT x FROM d.t -- a comment; UNNEST",
        "CREATE TABLE d.t AS SELECT 1 AS model",
        "SELECT 1; -- a comment",
        "BEGIN TRANSACTION; INSERT d.t SELECT x FROM UNNEST([1]) AS x; COMMIT TRANSACTION",
        "SELEC 1",
        "SELECT 'unclosed",
    ],
)
def test_other_text_is_left_to_the_emulator(sql):
    assert QueryJob("demo", "j", {"query": {"query": sql}}).gateway_steps() is None


def test_legacy_sql_is_left_to_the_emulator():
    job = QueryJob("demo", "j", {"query": {"query": "SELECT TO_JSON(x) FROM [d.t]", "useLegacySql": True}})
    assert job.gateway_steps() is None


def test_words_in_strings_and_comments_do_no_harm(client, rows):
    """The emulator refuses any text that mentions ML.PREDICT."""
    assert rows("SELECT 'see ML.PREDICT(MODEL m, TABLE t)' AS x -- not ML.EVALUATE") == [
        {"x": "see ML.PREDICT(MODEL m, TABLE t)"}
    ]
    assert client.query("SELECT 1 AS x -- ML.PREDICT", job_config=bigquery.QueryJobConfig(dry_run=True)).schema


# MOD and DIV


def test_mod_and_div_are_factors_as_they_stand(rows):
    """The emulator reads `3 * MOD(5, 7)` as `(3 * 5) % 7`."""
    sql = "SELECT 3 * MOD(5, 7) AS a, 3 * DIV(7, 2) AS b, MOD(5, 7) * 3 AS c, 3 * MOD(2 * MOD(5, 7), 4) AS d"
    assert rows(sql) == [{"a": 15, "b": 9, "c": 15, "d": 6}]
