"""BigQuery ML functions work in place of any table: in joins, expressions, DML and scripts, with parameters."""

from datetime import UTC, datetime

import pytest
from google.api_core.exceptions import BadRequest, NotFound
from google.cloud import bigquery


@pytest.fixture(scope="module")
def line(client, rows):
    """A dataset with a table `points` of x = 1 to 20 and y = 2 x, and models `double` and `triple` of y and 3 x."""
    client.create_dataset("line")
    rows("CREATE TABLE line.points AS SELECT x, 2.0 * x AS y FROM UNNEST(GENERATE_ARRAY(1, 20)) AS x")
    for name, label in (("double", "y"), ("triple", "3 * x")):
        rows(f"""
            CREATE MODEL line.{name} OPTIONS(model_type='LINEAR_REG', data_split_method='NO_SPLIT')
            AS SELECT x, {label} AS label FROM line.points""")
    yield "line"
    client.delete_dataset("line", delete_contents=True)


# statements


def test_a_function_can_be_in_joins_ctes_subqueries_and_set_operations(rows, line):
    found = rows("""
        WITH few AS (SELECT * FROM line.points WHERE x <= 3),
        doubled AS (SELECT x, predicted_label AS d FROM ML.PREDICT(MODEL line.double, TABLE few))
        SELECT x, ROUND(d) AS d, ROUND(t.predicted_label) AS t,
          (SELECT ROUND(MAX(predicted_label)) FROM ML.PREDICT(MODEL line.double, (SELECT 100 AS x))) AS most
        FROM doubled LEFT JOIN ML.PREDICT(MODEL line.triple, (SELECT x FROM few WHERE x > 1)) AS t USING (x)
        WHERE x IN (SELECT x FROM ML.PREDICT(MODEL line.double, TABLE few) WHERE predicted_label > 3)
        UNION ALL
        SELECT 0, ROUND(predicted_label), NULL, NULL FROM ML.PREDICT(MODEL line.double, (SELECT 7 AS x))
        ORDER BY x""")
    assert found == [
        {"x": 0, "d": 14.0, "t": None, "most": None},
        {"x": 2, "d": 4.0, "t": 6.0, "most": 200.0},
        {"x": 3, "d": 6.0, "t": 9.0, "most": 200.0},
    ]


def test_a_function_can_be_in_all_statements_that_write(rows, dataset, line):
    rows(f"""
        CREATE TABLE {dataset}.t AS
        SELECT x, ROUND(predicted_label) AS p
        FROM ML.PREDICT(MODEL line.double, (SELECT * FROM line.points WHERE x < 3))""")
    rows(f"""
        INSERT INTO {dataset}.t (x, p)
        SELECT x, ROUND(predicted_label) FROM ML.PREDICT(MODEL line.double, (SELECT 50 AS x))""")
    rows(f"""
        MERGE {dataset}.t AS t
        USING (SELECT x, ROUND(predicted_label) AS p FROM ML.PREDICT(MODEL line.triple, (
          SELECT x FROM UNNEST([2, 60]) AS x))) AS s
        ON t.x = s.x WHEN MATCHED THEN UPDATE SET p = s.p WHEN NOT MATCHED THEN INSERT ROW""")
    assert rows(f"SELECT * FROM {dataset}.t ORDER BY x") == [
        {"x": 1, "p": 2.0},
        {"x": 2, "p": 6.0},
        {"x": 50, "p": 100.0},
        {"x": 60, "p": 180.0},
    ]
    rows(f"DELETE FROM {dataset}.t WHERE p < (SELECT r2_score + 4 FROM ML.EVALUATE(MODEL line.double))")
    rows(f"UPDATE {dataset}.t SET p = (SELECT ROUND(r2_score) FROM ML.EVALUATE(MODEL line.double)) WHERE x = 50")
    assert rows(f"SELECT * FROM {dataset}.t ORDER BY x") == [
        {"x": 2, "p": 6.0},
        {"x": 50, "p": 1.0},
        {"x": 60, "p": 180.0},
    ]


def test_predictions_of_a_classifier_are_picked_by_label(rows, customers, model):
    (row,) = rows(f"""
        SELECT COUNT(*) AS n, COUNTIF(p BETWEEN 0 AND 1) AS good, COUNTIF(b IS NOT NULL) AS both FROM (
          SELECT (SELECT prob FROM UNNEST(predicted_bought_probs) WHERE label = 1) AS p, prob AS b
          FROM ML.PREDICT(MODEL {model}, TABLE {customers}), UNNEST(predicted_bought_probs) WHERE label = 0)""")
    assert row == {"n": 1200, "good": 1200, "both": 1200}


def test_idioms_work_inside_the_input_of_a_function(rows, line):
    (row,) = rows("""
        SELECT ROUND(predicted_label) AS p, j FROM ML.PREDICT(MODEL line.double, (
          SELECT (SELECT x FROM UNNEST(a) WHERE k = 'b') AS x, TO_JSON_STRING(STRUCT(ts)) AS j
          FROM (SELECT [STRUCT('a' AS k, 1 AS x), STRUCT('b', 21)] AS a, TIMESTAMP '2026-11-23 01:02:03+00' AS ts)))""")
    assert row == {"p": 42.0, "j": '{"ts":"2026-11-23T01:02:03Z"}'}


def test_a_comment_in_a_statement_does_no_harm(rows, line):
    assert rows("""
        SELECT ROUND(predicted_label) AS p -- what ML.PREDICT( says
        FROM ML.PREDICT(MODEL line.double, (SELECT 1 AS x /* not ML.EVALUATE */)) # the end""") == [{"p": 2.0}]


# parameters


def test_positional_parameters_keep_their_places(client, line):
    values = [("STRING", "first"), ("INT64", 18), ("STRING", "inner"), ("FLOAT64", 39.5), ("INT64", 99)]
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter(None, *value) for value in values])
    job = client.query(
        "SELECT ? AS a, x, b FROM ML.PREDICT(MODEL line.double, ("
        "  SELECT x, '?' AS q, ? - 0 AS least, ? AS b FROM line.points)) "
        "WHERE x > least AND predicted_label > ? AND x < ?",
        job_config=config,
    )
    assert [dict(row) for row in job.result()] == [{"a": "first", "x": 20, "b": "inner"}]
    assert client.get_job(job.job_id).query_parameters == config.query_parameters


def test_a_threshold_can_be_a_positional_parameter(client, customers, model):
    def predicted(threshold):
        config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter(None, "FLOAT64", threshold)])
        sql = f"SELECT SUM(predicted_bought) FROM ML.PREDICT(MODEL {model}, TABLE {customers}, STRUCT(? AS threshold))"
        ((count,),) = client.query(sql, job_config=config).result()
        return count

    assert predicted(0.9) < predicted(0.1)


def test_too_few_positional_parameters_are_refused(client, line):
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter(None, "INT64", 1)])
    sql = "SELECT ?, ? FROM ML.PREDICT(MODEL line.double, TABLE line.points)"
    with pytest.raises(BadRequest, match=r"Query parameter number 2 is not defined \(1 provided\) at \[1:11\]"):
        client.query(sql, job_config=config).result()


def test_array_and_struct_parameters_reach_the_input(client, line):
    config = bigquery.QueryJobConfig(
        query_parameters=[
            bigquery.ArrayQueryParameter("xs", "INT64", [3, 5]),
            bigquery.StructQueryParameter("s", bigquery.ScalarQueryParameter("most", "INT64", 4)),
        ]
    )
    sql = (
        "SELECT ROUND(predicted_label) AS p FROM ML.PREDICT(MODEL line.double, ("
        "SELECT * FROM line.points WHERE x IN UNNEST(@xs) AND x < @s.most))"
    )
    assert [tuple(row) for row in client.query(sql, job_config=config).result()] == [(6.0,)]


# scripts


def test_a_script_trains_checks_and_predicts(client, dataset, line):
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("first", "INT64", 11)])
    job = client.query(
        f"""
        DECLARE cutoff INT64 DEFAULT @first;
        DECLARE quality FLOAT64;
        CREATE TEMP TABLE train AS SELECT x, y AS label FROM line.points WHERE x < cutoff;
        CREATE TEMP FUNCTION half(v FLOAT64) AS (v / 2);
        CREATE OR REPLACE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG', data_split_method='NO_SPLIT')
        AS SELECT * FROM train WHERE x <= cutoff;
        SET quality = (SELECT r2_score FROM ML.EVALUATE(MODEL {dataset}.m, TABLE train));
        IF quality < 0.99 THEN
          RAISE USING MESSAGE = FORMAT('the model is bad: %f', quality);
        ELSE
          CREATE TABLE {dataset}.p AS
          SELECT points.x, half(predicted_label) AS h, cutoff
          FROM ML.PREDICT(MODEL {dataset}.m, (SELECT x FROM line.points WHERE x > cutoff + 7)) AS p
          JOIN line.points AS points ON points.x = p.x;
        END IF;
        ASSERT (SELECT COUNT(*) FROM {dataset}.p) = 2 AS 'two rows';
        SELECT x, ROUND(h) AS h, cutoff, quality > 0.99 AS good FROM {dataset}.p ORDER BY x;
        """,
        job_config=config,
    )
    assert [dict(row) for row in job.result()] == [
        {"x": 19, "h": 19.0, "cutoff": 11, "good": True},
        {"x": 20, "h": 20.0, "cutoff": 11, "good": True},
    ]
    assert job.statement_type == "SCRIPT"
    assert sorted(table.table_id for table in client.list_tables(dataset)) == ["p"]
    assert list(client.list_tables("_bigquery_ml")) == []
    assert list(client.list_routines("_bigquery_ml")) == []


def test_a_script_can_run_twice_with_its_temporary_tables(rows, line):
    script = "CREATE TEMP TABLE t AS SELECT 2 AS x; WITH u AS (SELECT * FROM t) SELECT t.x, u.x AS y FROM t, u"
    assert rows(script) == rows(script) == [{"x": 2, "y": 2}]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            """
            DECLARE i INT64 DEFAULT 0;
            WHILE TRUE DO
              SET i = i + 1;
              IF i = 2 THEN CONTINUE; ELSEIF i > 3 THEN LEAVE; END IF;
              ASSERT i != 2;
            END WHILE;
            SELECT i""",
            4,
        ),
        ("DECLARE i INT64 DEFAULT 0; REPEAT SET i = i + 1; UNTIL i >= 3 END REPEAT; SELECT i", 3),
        (
            """
            DECLARE s INT64 DEFAULT 0;
            FOR r IN (SELECT x, STRUCT(y AS z) AS n FROM line.points WHERE x < 4) DO
              SET s = s + r.x * CAST(r.n.z AS INT64);
              ASSERT s > 0;
            END FOR;
            SELECT s""",
            28,
        ),
        (
            """
            DECLARE a, b INT64;
            SET (a, b) = (1, 2);
            SET (b, a) = (SELECT AS STRUCT 10 * a, 10 * b);
            ASSERT TRUE;
            SELECT a - b""",
            10,
        ),
        ("DECLARE x INT64 DEFAULT 1; BEGIN DECLARE y INT64 DEFAULT 5; SET x = x + y; ASSERT TRUE; END; SELECT x", 6),
        ("ASSERT TRUE; BEGIN RAISE USING MESSAGE = 'no'; EXCEPTION WHEN ERROR THEN SELECT @@error.message; END", "no"),
        (
            """
            DECLARE m STRING DEFAULT 'double';
            EXECUTE IMMEDIATE FORMAT(
              'SELECT ROUND(predicted_label) FROM ML.PREDICT(MODEL line.%s, (SELECT ? + @more AS x))', m
            ) USING 1, 2 AS more""",
            6.0,
        ),
        (
            """
            DECLARE r FLOAT64;
            EXECUTE IMMEDIATE 'SELECT ROUND(r2_score) FROM ML.EVALUATE(MODEL line.double)' INTO r;
            SELECT r""",
            1.0,
        ),
        ("SELECT 1; ASSERT TRUE AS 'is no result'", 1),
        ("ASSERT TRUE; SELECT 1; RETURN; SELECT 2", 1),
        (
            "DECLARE t TIMESTAMP DEFAULT '2026-11-23 01:02:03.5+00'; ASSERT TRUE; SELECT t",
            datetime(2026, 11, 23, 1, 2, 3, 500_000, UTC),
        ),
        ("DECLARE b BYTES DEFAULT b'ab'; ASSERT b = b'ab'; SELECT b", b"ab"),
        ("DECLARE j JSON DEFAULT JSON '{\"a\": [1]}'; SELECT TO_JSON_STRING(j)", '{"a":[1]}'),
        ("DECLARE a ARRAY<STRING> DEFAULT ['x', 'y']; ASSERT TRUE; SELECT a", ["x", "y"]),
        ("DECLARE d DATE; ASSERT d IS NULL; SELECT d", None),
    ],
)
def test_a_control_statement_works_as_documented(client, line, sql, expected):
    ((value,),) = client.query(sql).result()
    assert value == expected


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (
            "ASSERT (SELECT COUNT(*) FROM line.points) > 50 AS 'Table must contain more than 50 rows.'",
            "Assertion failed: Table must contain more than 50 rows.",
        ),
        ("ASSERT NULL", "Assertion failed"),
        (
            "ASSERT EXISTS(SELECT * FROM ML.EVALUATE(MODEL line.double) WHERE r2_score < 0.5) AS 'quality'",
            "Assertion failed: quality",
        ),
        (
            "IF EXISTS(SELECT * FROM ML.EVALUATE(MODEL line.double)) THEN RAISE USING MESSAGE = 'too good'; END IF",
            "too good",
        ),
        ("RAISE USING MESSAGE = 'alone'", "alone"),
        ("BEGIN SELECT ERROR('inner'); EXCEPTION WHEN ERROR THEN RAISE; END", "inner"),
        ("RAISE", "only allowed in an exception handler"),
        ("SET nothing = 1; ASSERT TRUE", "Undeclared variable: nothing"),
        ("DECLARE x INT64; DECLARE X INT64; ASSERT TRUE", "redeclared"),
        ("BREAK; ASSERT TRUE", "only allowed inside of a loop"),
        ("DECLARE a, b INT64; SET (a, b) = (1, 2, 3); ASSERT TRUE", "needs a struct of as many fields"),
        ("BEGIN TRANSACTION; SELECT * FROM ML.EVALUATE(MODEL line.double); COMMIT TRANSACTION", "Transactions"),
        ("IF TRUE THEN SELECT * FROM ML.EVALUATE(MODEL line.double);", "Unexpected end of script"),
    ],
)
def test_a_script_fails_with_bigquerys_kind_of_error(client, line, sql, message):
    with pytest.raises(BadRequest, match=message) as raised:
        client.query(sql).result()
    assert raised.value.errors[0]["reason"] == "invalidQuery"


def test_a_script_stops_where_it_fails_and_a_handler_goes_on(rows, dataset, line):
    with pytest.raises(NotFound, match=r"Not found: Model demo:line\.absent"):
        rows(f"""
            CREATE TABLE {dataset}.a AS SELECT 1 AS x;
            SELECT * FROM ML.PREDICT(MODEL line.absent, TABLE {dataset}.a);
            CREATE TABLE {dataset}.b AS SELECT 1 AS x""")
    assert rows(f"""
        BEGIN
          SELECT * FROM ML.PREDICT(MODEL line.absent, TABLE {dataset}.a);
        EXCEPTION WHEN ERROR THEN
          CREATE TABLE {dataset}.c AS SELECT @@error.message AS m;
        END;
        SELECT m FROM {dataset}.c""") == [{"m": "Not found: Model demo:line.absent"}]
    with pytest.raises(NotFound):
        rows(f"SELECT * FROM {dataset}.b")


def test_a_single_assertion_has_no_rows(client, line):
    job = client.query("ASSERT (SELECT COUNT(*) FROM line.points) = 20")
    assert list(job.result()) == []
    assert job.statement_type == "ASSERT"
