"""Statements are analysed before they run: BigQuery's errors, with their places, and no wrong refusal."""

import json

import pytest
import requests
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery


@pytest.fixture(scope="module")
def there(client):
    """A dataset with a table of each type, a view, functions and a model."""
    client.create_dataset("there")
    for sql in (
        (
            "CREATE TABLE there.t (i INT64, f FLOAT64, s STRING, b BOOL, bs BYTES, d DATE, ts TIMESTAMP, j JSON, "
            "g GEOGRAPHY, n NUMERIC, big BIGNUMERIC, r RANGE<DATE>, "
            "a ARRAY<INT64>, st STRUCT<x INT64, l ARRAY<STRING>>)"
        ),
        "CREATE TABLE there.by_day (x INT64) PARTITION BY _PARTITIONDATE",
        "CREATE VIEW there.v AS SELECT i, j FROM there.t",
        "CREATE FUNCTION there.plus(x INT64, y FLOAT64) AS (x + y)",
        "CREATE FUNCTION there.name_of(x INT64) RETURNS STRING AS (CAST(x AS STRING))",
        "CREATE TABLE FUNCTION there.rows_of(x INT64) AS SELECT x AS number, 's' AS text",
        (
            "CREATE MODEL there.m OPTIONS (model_type = 'LINEAR_REG', input_label_cols = ['y']) AS "
            "SELECT x, 2.0 * x AS y FROM UNNEST(GENERATE_ARRAY(1, 20)) AS x"
        ),
    ):
        client.query(sql).result()
    yield "there"
    client.delete_dataset("there", delete_contents=True)


REFUSED = {
    "names": [
        ("SELECT nope", "Unrecognized name: nope at [1:8]"),
        ("SELECT\n  'é', nope FROM there.t", "Unrecognized name: nope at [2:8]"),
        ("SELECT\tnope", "Unrecognized name: nope at [1:9]"),
        ("SELECT t.nope FROM there.t AS t", "Name nope not found inside t at [1:10]"),
        ("SELECT st.nope FROM there.t", "Field name nope does not exist in STRUCT<x INT64, l ARRAY<STRING>> at [1:11]"),
        ("SELECT i AS x FROM there.t WHERE x > 1", "Unrecognized name: x at [1:34]"),
        ("SELECT i FROM there.t, there.v", "Column name i is ambiguous at [1:8]"),
        ("SELECT nope FROM there.rows_of(1)", "Unrecognized name: nope at [1:8]"),
        ("SELECT nope FROM there.INFORMATION_SCHEMA.TABLES", "Unrecognized name: nope at [1:8]"),
    ],
    "types": [
        ("SELECT i = 'a' FROM there.t", "No matching signature for operator = for argument types: INT64, STRING"),
        ("SELECT s = 1 FROM there.t", "No matching signature for operator = for argument types: STRING, INT64"),
        ("SELECT s + 1 FROM there.t", "No matching signature for operator +\n  Argument types: STRING, INT64"),
        ("SELECT a = a FROM there.t", "Equality is not defined for arguments of type ARRAY<INT64> at [1:8]"),
        ("SELECT j = j FROM there.t", "Equality is not defined for arguments of type JSON at [1:8]"),
        ("SELECT d > ts FROM there.t", "No matching signature for operator > for argument types: DATE, TIMESTAMP"),
        ("SELECT i FROM there.t WHERE i", "WHERE clause should return type BOOL, but returns INT64 at [1:29]"),
        ("SELECT IF(i, 1, 2) FROM there.t", "No matching signature for function IF"),
        ("SELECT CAST(d AS INT64) FROM there.t", "Invalid cast from DATE to INT64 at [1:13]"),
        ("SELECT COALESCE(i, s) FROM there.t", "No matching signature for function COALESCE"),
        ("SELECT i FROM there.t UNION ALL SELECT s FROM there.t", "Column 1 in UNION ALL has incompatible types"),
        ("SELECT * FROM there.t WHERE i IN ('a')", "No matching signature for operator IN"),
        ("SELECT there.name_of('a')", "No matching signature for function"),
        ("SELECT CASE WHEN b THEN 1 ELSE 'a' END FROM there.t", "No matching signature for operator CASE"),
    ],
    "aggregation": [
        ("SELECT s, COUNT(*) FROM there.t", "which is neither grouped nor aggregated at [1:8]"),
        ("SELECT COUNT(*) AS n FROM there.t GROUP BY n", "contains an aggregation function, which is not allowed"),
        (
            "SELECT i FROM there.t WHERE COUNT(*) > 1",
            "function COUNT(*) not allowed in WHERE clause at [1:29]",
        ),
        ("SELECT i FROM there.t WHERE ROW_NUMBER() OVER () = 1", "Analytic function not allowed in WHERE clause"),
        (
            "SELECT st, COUNT(*) FROM there.t GROUP BY st.x",
            "Cannot GROUP BY field references from SELECT list",
        ),
        ("SELECT a FROM there.t GROUP BY a ORDER BY g", "is neither grouped nor aggregated"),
        ("SELECT j FROM there.t ORDER BY j", "ORDER BY does not support expressions of type JSON at [1:32]"),
    ],
    "functions": [
        ("SELECT LEN('a')", "Function not found: LEN"),
        ("SELECT NVL(1, 2)", "Function not found: NVL at [1:8]"),
        ("SELECT PI()", "Function not found: PI at [1:8]"),
        ("SELECT LIST_SUM([1])", "Function not found: LIST_SUM"),
        ("SELECT there.nope(1)", "Function not found: there.nope at [1:8]"),
        ("SELECT SUBSTR('a')", "No matching signature for function SUBSTR"),
        ("SELECT LOWER('a', 'b')", "No matching signature for function LOWER"),
        ("SELECT DATE_ADD(CURRENT_DATE(), 1)", "Expected INTERVAL expression at [1:33]"),
        ("SELECT DATE_DIFF(ts, ts, DAYS) FROM there.t", "A valid date part"),
    ],
    "syntax": [
        ("SELEC 1", 'Syntax error: Unexpected identifier "SELEC" at [1:1]'),
        ("SELECT 1 AS rows", "Syntax error: Unexpected keyword ROWS at [1:13]"),
        ("SELECT 1 AS groups", "Syntax error: Unexpected keyword GROUPS at [1:13]"),
        ("SELECT 1::STRING", "Syntax error"),
        ("SELECT i FROM there.t ILIKE 'a'", "Syntax error"),
        ("SELECT i, FROM there.t WHERE", "Syntax error: Unexpected end of script at [1:29]"),
        ("SELECT 1; SELEC 2", 'Syntax error: Unexpected identifier "SELEC" at [1:11]'),
    ],
    "writes": [
        ("INSERT INTO there.t (i) VALUES ('a')", "Value has type STRING which cannot be inserted into column i"),
        ("INSERT INTO there.t (nope) VALUES (1)", "Column nope is not present in table demo.there.t at [1:22]"),
        ("INSERT INTO there.t (i, s) SELECT 1", "Inserted row has wrong column count; Has 1, expected 2 at [1:28]"),
        ("UPDATE there.t SET i = 'a' WHERE TRUE", "Value of type STRING cannot be assigned to i"),
        ("UPDATE there.t SET i = 1", "UPDATE must have a WHERE clause at [1:1]"),
        ("DELETE FROM there.t", "DELETE must have a WHERE clause at [1:1]"),
        ("CREATE TABLE there.u AS SELECT 1", "CREATE TABLE columns must be named, but column 1 has no name"),
        ("CREATE TABLE there.u AS SELECT 1 AS x, 2 AS x", "CREATE TABLE has columns with duplicate name x"),
        ("CREATE TABLE there.u (x INT64) AS SELECT 'a'", "Column 'x' has type INT64 which cannot be coerced"),
        ("CREATE VIEW there.u AS SELECT nope FROM there.t", "Unrecognized name: nope at [1:31]"),
        ("CREATE FUNCTION there.u(x INT64) AS (y)", "Unrecognized name: y at [1:38]"),
    ],
    "models": [
        ("SELECT nope FROM ML.PREDICT(MODEL there.m, (SELECT 1 AS x))", "Unrecognized name: nope at [1:8]"),
        ("SELECT * FROM ML.PREDICT(MODEL there.m, (SELECT nope FROM there.t))", "Unrecognized name: nope at [1:49]"),
        ("SELECT predicted_y = 'a' FROM ML.PREDICT(MODEL there.m, TABLE there.v)", "No matching signature"),
        (
            "CREATE MODEL there.n OPTIONS (model_type = 'LINEAR_REG') AS SELECT nope",
            "Unrecognized name: nope at [1:68]",
        ),
    ],
    "scripts": [
        ("DECLARE x INT64 DEFAULT 1;\nSELECT x,\n  nope;", "Unrecognized name: nope at [3:3]"),
        ("DECLARE x DATE;\nSELECT x + 'a'", "No matching signature for operator +"),
        ("CREATE TEMP TABLE tt AS SELECT 1 AS y;\nSELECT nope FROM tt", "Unrecognized name: nope at [2:8]"),
        ("CREATE TEMP FUNCTION f(x INT64) AS (x);\nSELECT f('a')", "No matching signature for function"),
        ("EXECUTE IMMEDIATE 'SELECT nope'", "Unrecognized name: nope"),
        ("FOR r IN (SELECT 1 AS x) DO\n  SELECT r.nope;\nEND FOR", "nope"),
    ],
    "parameters": [("SELECT @nope", "Query parameter 'nope' not found at [1:8]")],
}


@pytest.mark.parametrize(
    ("sql", "message"), [pytest.param(*case, id=case[0]) for cases in REFUSED.values() for case in cases]
)
def test_what_bigquery_refuses_is_refused_with_its_text_and_place(client, there, sql, message):
    with pytest.raises(BadRequest) as caught:
        client.query(sql, job_retry=None).result()
    assert caught.value.errors[0]["reason"] == "invalidQuery"
    assert message in caught.value.errors[0]["message"]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 1 FROM there.nope", "Not found: Table demo:there.nope was not found in location US"),
        ("SELECT 1 FROM `demo.there.nope`", "Not found: Table demo:there.nope was not found in location US"),
        ("SELECT 1 FROM nowhere.t", "Not found: Dataset demo:nowhere was not found in location US"),
        ("INSERT INTO there.nope (x) VALUES (1)", "Not found: Table demo:there.nope was not found in location US"),
        ("SELECT * FROM ML.PREDICT(MODEL there.nope, (SELECT 1 AS x))", "Not found: Model demo:there.nope"),
    ],
)
def test_what_does_not_exist_is_not_found(client, there, sql, message):
    with pytest.raises(NotFound) as caught:
        client.query(sql, job_retry=None).result()
    assert caught.value.errors[0]["message"] == message


def test_a_table_without_a_dataset_needs_a_default_dataset(client, there):
    with pytest.raises(BadRequest, match='Table "t" must be qualified with a dataset'):
        client.query("SELECT i FROM t").result()
    config = bigquery.QueryJobConfig(default_dataset="demo.there")
    client.query("SELECT i FROM t", job_config=config).result()
    with pytest.raises(BadRequest, match=r"Unrecognized name: nope at \[1:8\]"):
        client.query("SELECT nope FROM t", job_config=config).result()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT i, j.x.y, JSON_VALUE(j, '$.a'), ST_ASTEXT(g), RANGE_START(r), a[SAFE_OFFSET(0)], st.l FROM there.t",
        "SELECT t.i, v.j FROM `demo.there.t` JOIN `there.v` AS v ON t.i = v.i JOIN `demo.there`.by_day ON x = t.i",
        "SELECT big, n FROM there.t WHERE big > n",
        "SELECT * EXCEPT (g) REPLACE (i + 1 AS i) FROM there.t",
        "SELECT x FROM there.by_day WHERE _PARTITIONDATE > '2026-01-01' OR _PARTITIONTIME IS NULL",
        "SELECT e, l FROM there.t AS t, t.a AS e, UNNEST(t.st.l) AS l",
        "WITH t AS (SELECT 1 AS own) SELECT own FROM t",
        "SELECT i FROM demo.there.t WHERE d > '2026-01-01' AND ts > '2026-01-01' AND f = 1 AND s IN ('a')",
        "SELECT there.plus(i, 1.5) + 1, CONCAT(there.name_of(i), 'a') FROM there.t",
        "SELECT number + 1 AS n, text || 'a' AS t FROM there.rows_of(3)",
        "SELECT predicted_y + 1 AS p, y FROM ML.PREDICT(MODEL there.m, (SELECT 1 AS x, 2 AS y))",
        "SELECT r2_score, median_absolute_error FROM ML.EVALUATE(MODEL there.m)",
        "SELECT table_name FROM there.INFORMATION_SCHEMA.TABLES WHERE table_type = 'VIEW'",
        "SELECT model_name FROM there.INFORMATION_SCHEMA.MODELS",
        "SELECT * FROM there.INFORMATION_SCHEMA.ROUTINES",
        "SELECT s, SUM(i) AS n FROM there.t GROUP BY s HAVING n > 1 ORDER BY n",
        "SELECT i FROM there.t QUALIFY ROW_NUMBER() OVER (PARTITION BY s ORDER BY i) = 1",
        "SELECT MAX_BY(s, i), ANY_VALUE(s), COUNTIF(b) FROM there.t",
        "SELECT 1 AS date, 2 AS type, 3 AS offset",
        "INSERT INTO there.t (i, f, d, ts, j) VALUES (1, 2, '2026-01-01', '2026-01-01', JSON '1')",
        "UPDATE there.t SET f = 1, d = '2026-01-01' WHERE FALSE",
        "MERGE there.t AS t USING (SELECT 1 AS i) AS u ON t.i = u.i AND FALSE WHEN MATCHED THEN UPDATE SET f = 1",
        "DECLARE x, y INT64; SET x = 1; SELECT x + IFNULL(y, 0), i FROM there.t",
        "CREATE TEMP TABLE tt AS SELECT 1 AS y; INSERT INTO tt VALUES (2); SELECT y + 1 FROM tt",
        "DECLARE p STRUCT<a INT64>; SET p = STRUCT(1 AS a); SELECT p.a + 1",
        "FOR r IN (SELECT 1 AS x) DO SELECT r.x + 1; END FOR",
        "EXECUTE IMMEDIATE 'SELECT @a + 1' USING 1 AS a",
        (
            "CREATE OR REPLACE TABLE there.made AS SELECT 1 AS x; SELECT x FROM there.made; "
            "CREATE OR REPLACE TABLE there.made AS SELECT 1 AS y; SELECT y FROM there.made"
        ),
        "BEGIN TRANSACTION; INSERT INTO there.by_day (x) VALUES (1); COMMIT TRANSACTION",
        (
            "CREATE OR REPLACE TABLE there.made (a INTEGER, b BOOLEAN, c DECIMAL, d INT, e BYTEINT, f BIGDECIMAL) AS "
            "SELECT CAST('1' AS INTEGER), CAST('true' AS BOOLEAN), CAST(1 AS DECIMAL), 2, CAST(3 AS SMALLINT), 4"
        ),
        "ALTER TABLE there.by_day ADD COLUMN IF NOT EXISTS z INT64",
        "TRUNCATE TABLE there.by_day",
    ],
)
def test_what_bigquery_takes_is_taken(client, there, sql):
    client.query(sql, job_retry=None).result()


def test_columns_are_those_of_now(client, dataset):
    name = f"{dataset}.t"
    client.query(f"CREATE TABLE {name} AS SELECT 1 AS a").result()
    client.query(f"SELECT a FROM {name}").result()
    for change in (
        f"CREATE OR REPLACE TABLE {name} AS SELECT 'x' AS b",
        f"ALTER TABLE {name} RENAME COLUMN b TO c",
    ):
        client.query(change).result()
        column = change.split()[-1]
        client.query(f"SELECT {column} || 'y' FROM {name}").result()
    client.delete_table(name)
    with pytest.raises(NotFound):
        client.query(f"SELECT c FROM {name}").result()
    client.create_table(bigquery.Table(f"demo.{name}", [bigquery.SchemaField("e", "DATE")]))
    client.query(f"SELECT DATE_ADD(e, INTERVAL 1 DAY) FROM {name}").result()


def test_parameters_have_their_types(client, there):
    config = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ScalarQueryParameter("day", "DATE", "2026-01-01"),
            bigquery.ArrayQueryParameter("ids", "INT64", [1]),
            bigquery.StructQueryParameter("s", bigquery.ScalarQueryParameter("x", "STRING", "a")),
        ]
    )
    client.query("SELECT DATE_ADD(@day, INTERVAL 1 DAY), 1 IN UNNEST(@ids), @s.x || 'b'", job_config=config).result()
    with pytest.raises(BadRequest, match="No matching signature for operator ="):
        client.query("SELECT @day = 1", job_config=config).result()
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter(None, "INT64", 1)])
    client.query("SELECT ? + 1", job_config=config).result()
    with pytest.raises(BadRequest, match="No matching signature for operator ="):
        client.query("SELECT ? = 'a'", job_config=config).result()


def test_a_dry_run_and_a_destination_have_the_same_errors(client, dataset):
    message = r"Unrecognized name: nope at \[1:8\]"
    with pytest.raises(BadRequest, match=message):
        client.query("SELECT nope", bigquery.QueryJobConfig(dry_run=True))
    with pytest.raises(BadRequest, match=message):
        client.query("SELECT nope", bigquery.QueryJobConfig(destination=f"demo.{dataset}.t")).result()
    client.query("SELECT 1", bigquery.QueryJobConfig(destination=f"demo.{dataset}.t")).result()


def test_a_handler_gets_the_message(rows):
    sql = "BEGIN SELECT nope; EXCEPTION WHEN ERROR THEN SELECT @@error.message AS message; END"
    assert rows(sql) == [{"message": "Unrecognized name: nope at [1:14]"}]


def test_a_flag_leaves_the_analysis_out(start):
    with start("--no-analysis") as server:
        body = json.dumps({"query": "SELECT 1 = '1' AS x", "useLegacySql": False})
        answer = requests.post(f"{server.rest}/bigquery/v2/projects/demo/queries", body, timeout=60).json()
        assert answer["jobComplete"]
