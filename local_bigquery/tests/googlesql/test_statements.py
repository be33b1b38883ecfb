"""Statements and results follow GoogleSQL where single expressions cannot show it."""

import datetime as dt
from decimal import Decimal

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import bigquery


@pytest.fixture
def arrays(rows, dataset):
    """The name of a table with NULL in an array column."""
    rows(f"CREATE TABLE {dataset}.t (id INT64, xs ARRAY<INT64>, s STRUCT<a FLOAT64, b STRING>)")
    rows(f"INSERT INTO {dataset}.t VALUES (1, NULL, STRUCT(1.0, 'x')), (2, [7, 8], NULL)")
    return f"{dataset}.t"


def test_create_table_with_columns_takes_the_columns_of_the_query_by_position(client, rows, dataset):
    rows(f"CREATE TABLE {dataset}.t (a STRING NOT NULL, b FLOAT64) AS (SELECT 'x' AS b, 1 UNION ALL SELECT 'y', 2)")
    fields = client.get_table(f"{dataset}.t").schema
    assert [(field.name, field.field_type) for field in fields] == [("a", "STRING"), ("b", "FLOAT")]
    assert rows(f"SELECT a, b / 4 AS q FROM {dataset}.t ORDER BY a") == [{"a": "x", "q": 0.25}, {"a": "y", "q": 0.5}]


def test_a_required_column_refuses_null(rows, dataset):
    with pytest.raises(BadRequest, match="Required field a cannot be null"):
        rows(f"CREATE TABLE {dataset}.t (a STRING NOT NULL) AS SELECT CAST(NULL AS STRING)")


def test_a_stored_null_array_is_empty(rows, arrays):
    assert rows(f"SELECT id, ARRAY_LENGTH(xs) AS n, s.a FROM {arrays} ORDER BY id") == [
        {"id": 1, "n": 0, "a": 1.0},
        {"id": 2, "n": 2, "a": None},
    ]
    assert rows(f"SELECT t.xs FROM {arrays} AS t WHERE t.xs IS NULL") == []


def test_null_within_an_array_of_the_result_is_an_error(rows):
    with pytest.raises(BadRequest, match="Array cannot have a null element; error in writing field a"):
        rows("SELECT [1, NULL] AS a")


@pytest.mark.parametrize(
    ("sql", "field"),
    [
        ("CREATE TABLE {d}.u AS SELECT * FROM (SELECT [1, NULL] AS a)", "a"),
        ("CREATE TABLE {d}.u AS SELECT STRUCT([1, NULL] AS a) AS s", "s"),
        ("CREATE TABLE {d}.u AS SELECT [STRUCT([NULL, 'x'] AS a)] AS s", "s"),
        ("INSERT INTO {d}.t (id, xs) VALUES (1, [1]), (2, [2, NULL])", "xs"),
        ("CREATE TABLE {d}.u (s STRUCT<a ARRAY<INT64>>) AS SELECT STRUCT([1, NULL])", "s"),
        ("INSERT INTO {d}.t (xs) SELECT ARRAY_AGG(x) FROM UNNEST([1, NULL]) AS x", "xs"),
        ("UPDATE {d}.t SET xs = [NULL, 1] WHERE TRUE", "xs"),
        ("MERGE {d}.t AS t USING (SELECT [NULL, 1] AS a) ON FALSE WHEN NOT MATCHED THEN INSERT (xs) VALUES (a)", "xs"),
    ],
)
def test_no_array_in_a_table_has_a_null_element(rows, arrays, sql, field):
    dataset = arrays.partition(".")[0]
    before = rows(f"SELECT id, xs FROM {arrays} ORDER BY id")
    with pytest.raises(BadRequest, match=f"Array cannot have a null element; error in writing field {field}"):
        rows(sql.format(d=dataset))
    assert rows(f"SELECT id, xs FROM {arrays} ORDER BY id") == before


def test_a_null_array_is_stored_and_read_as_an_empty_one(rows, arrays, local_bigquery):
    rows(f"INSERT INTO {arrays} (id) VALUES (3)")
    rows(f"UPDATE {arrays} SET xs = NULL WHERE id = 2")
    assert rows(f"SELECT id, xs FROM {arrays} ORDER BY id") == [{"id": n, "xs": []} for n in (1, 2, 3)]
    assert local_bigquery.read(arrays).sort_by("id")["xs"].to_pylist() == [[], [], []]
    made = f"{arrays}_made"
    rows(f"CREATE TABLE {made} AS SELECT CAST(NULL AS ARRAY<INT64>) AS a, STRUCT(CAST(NULL AS ARRAY<INT64>) AS b) AS s")
    assert rows(f"SELECT a, s, ARRAY_LENGTH(a) AS n FROM {made}") == [{"a": [], "s": {"b": []}, "n": 0}]
    assert local_bigquery.read(made).to_pylist() == [{"a": [], "s": {"b": []}}]


def test_offsets_count_from_0_in_each_scope(rows, arrays):
    sql = f"SELECT o FROM (SELECT id, x, o FROM {arrays}, UNNEST(xs) AS x WITH OFFSET AS o) ORDER BY o"
    assert rows(sql) == [{"o": 0}, {"o": 1}]
    assert rows("SELECT * FROM UNNEST(['a']) AS x WITH OFFSET AS o") == [{"x": "a", "o": 0}]
    assert rows(f"SELECT id, o FROM {arrays} LEFT JOIN UNNEST(xs) AS x WITH OFFSET AS o ORDER BY id, o") == [
        {"id": 1, "o": None},
        {"id": 2, "o": 0},
        {"id": 2, "o": 1},
    ]


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("(SELECT x FROM UNNEST(xs) AS x WHERE x > 7)", [None, 8]),
        ("(SELECT x + id FROM UNNEST(xs) AS x WHERE x = id + 5)", [None, 9]),
        ("ROUND((SELECT id / x FROM UNNEST(xs) AS x WHERE x = 8), 1)", [None, 0.3]),
        ("(SELECT id.b FROM UNNEST([STRUCT(1 AS a, xs AS b)]) AS id)", [[], [7, 8]]),
        ("(SELECT id FROM UNNEST(xs) AS id WHERE id = 8)", [None, 8]),
        ("(SELECT x FROM UNNEST(xs) AS x WHERE x > 7 AND x IN UNNEST(xs))", [None, 8]),
        ("(SELECT MAX(x) FROM UNNEST(xs) AS x WHERE x > 6)", [None, 8]),
        ("(SELECT x FROM UNNEST(xs) AS x ORDER BY x LIMIT 1)", [None, 7]),
    ],
)
def test_a_subquery_finds_an_element_of_an_array(rows, arrays, sql, found):
    assert [row["v"] for row in rows(f"SELECT {sql} AS v FROM {arrays} ORDER BY id")] == found
    assert [row["v"] for row in rows(f"SELECT * FROM (SELECT id, {sql} AS v FROM {arrays}) ORDER BY id")] == found


def test_a_subquery_that_finds_several_elements_is_an_error(rows, arrays):
    with pytest.raises(BadRequest, match="Scalar subquery produced more than one element"):
        rows(f"SELECT (SELECT x FROM UNNEST(xs) AS x WHERE x > 6) AS v FROM {arrays}")


def test_a_subquery_of_an_array_can_be_a_set(rows, arrays):
    assert rows(f"SELECT id FROM {arrays} WHERE 8 IN (SELECT x FROM UNNEST(xs) AS x)") == [{"id": 2}]
    assert rows("SELECT * FROM (SELECT x FROM UNNEST(GENERATE_ARRAY(1, 2)) AS x) ORDER BY x") == [{"x": 1}, {"x": 2}]


def test_numeric_columns_keep_their_digits_and_a_star_keeps_structs(rows, dataset):
    rows(f"CREATE TABLE {dataset}.t (n NUMERIC, s STRUCT<x INT64>)")
    rows(f"INSERT INTO {dataset}.t VALUES (NUMERIC '1.123456789', STRUCT(5))")
    assert rows(f"SELECT *, CONCAT('a', 'b') AS c, AVG(n) OVER () AS a FROM {dataset}.t") == [
        {"n": Decimal("1.123456789"), "s": {"x": 5}, "c": "ab", "a": Decimal("1.123456789")}
    ]


def test_an_array_can_have_subqueries_as_elements(rows):
    assert rows("SELECT [(SELECT 1), 2] AS a, ARRAY(SELECT 3) AS b") == [{"a": [1, 2], "b": [3]}]


def test_columns_without_a_name_have_bigquerys_names(rows):
    assert rows("SELECT 1, 2 AS b, 'x'") == [{"f0_": 1, "b": 2, "f1_": "x"}]


def test_json_of_a_row_is_bigquerys(rows, arrays):
    found = rows(f"SELECT TO_JSON_STRING(t) AS j FROM {arrays} AS t ORDER BY id")
    assert [row["j"] for row in found] == [
        '{"id":1,"xs":[],"s":{"a":1,"b":"x"}}',
        '{"id":2,"xs":[7,8],"s":null}',
    ]


def test_json_in_an_update_is_bigquerys(rows, dataset):
    rows(f"CREATE TABLE {dataset}.t AS SELECT TIMESTAMP '2026-11-23 01:02:03.5+00' AS t, '' AS j")
    rows(f"UPDATE {dataset}.t SET j = TO_JSON_STRING(STRUCT(t, IEEE_DIVIDE(0, 0) AS x)) WHERE TRUE")
    assert rows(f"SELECT j FROM {dataset}.t") == [{"j": '{"t":"2026-11-23T01:02:03.500Z","x":"NaN"}'}]


def test_a_function_of_a_user_has_googlesqls_errors(rows, dataset):
    rows(f"CREATE FUNCTION {dataset}.ratio(a FLOAT64, b FLOAT64) AS (a / b)")
    assert rows(f"SELECT {dataset}.ratio(1, 4) AS r") == [{"r": 0.25}]
    with pytest.raises(BadRequest, match="division by zero"):
        rows(f"SELECT {dataset}.ratio(1, 0) AS r")


def test_operands_can_be_subqueries_aggregates_and_windows(rows):
    numbers = "(SELECT 1 AS n, 0 AS m UNION ALL SELECT 3, 2)"
    assert rows(f"SELECT SUM(n) / (SELECT 8) AS q FROM {numbers}") == [{"q": 0.5}]
    assert rows(f"SELECT n / SUM(n) OVER () AS q FROM {numbers} ORDER BY q") == [{"q": 0.25}, {"q": 0.75}]
    with pytest.raises(BadRequest, match="division by zero"):
        rows(f"SELECT MAX(n) / (SELECT MIN(m) FROM {numbers}) AS q FROM {numbers}")
    with pytest.raises(BadRequest, match="division by zero"):
        rows(f"SELECT MAX(MOD(n, m)) AS q FROM {numbers}")


def test_views_and_functions_outlive_a_restart(start, tmp_path):
    with start("--data-dir", str(tmp_path)) as server:
        client = server.client()
        client.create_dataset("d")
        client.query("CREATE TABLE d.t AS SELECT 3 AS a, 2 AS b").result()
        client.query("CREATE VIEW d.v AS SELECT a / b AS q, TO_JSON_STRING(CAST(a AS FLOAT64)) AS j FROM d.t").result()
        client.query("CREATE FUNCTION d.half(x FLOAT64) AS (x / 2)").result()
    with start("--data-dir", str(tmp_path)) as server:
        found = server.client().query("SELECT q, j, d.half(q) AS h FROM d.v").result()
        assert [dict(row) for row in found] == [{"q": 1.5, "j": "3", "h": 0.75}]


TIME = dt.datetime(2026, 11, 23, 1, 2, 3, 500)  # noqa: DTZ001  a DATETIME has no zone


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("INT64", -(2**63)),
        ("FLOAT64", float("inf")),
        ("NUMERIC", Decimal("-1.5")),
        ("BIGNUMERIC", Decimal("1.5")),
        ("STRING", "it's @p, ?\n\\ \u65e5"),
        ("BYTES", b"\x00\xff'"),
        ("BOOL", False),
        ("DATE", TIME.date()),
        ("DATETIME", TIME),
        ("TIME", TIME.time()),
        ("TIMESTAMP", TIME.replace(tzinfo=dt.UTC)),
        *((kind, None) for kind in ("INT64", "FLOAT64", "NUMERIC", "STRING", "BYTES", "DATE", "TIMESTAMP")),
    ],
)
def test_a_parameter_has_its_value_and_type(client, kind, value):
    parameters = [
        bigquery.ScalarQueryParameter("p", kind, value),
        bigquery.ArrayQueryParameter("ps", kind, [] if value is None else [value, value]),
        bigquery.StructQueryParameter("s", bigquery.ScalarQueryParameter("x", kind, value)),
    ]
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    result = client.query("SELECT @p AS p, @ps AS ps, @s.x AS x, '@p' AS text", job_config=config).result()
    (row,) = result
    assert dict(row) == {"p": value, "ps": [] if value is None else [value, value], "x": value, "text": "@p"}
    names = {"INT64": "INTEGER", "FLOAT64": "FLOAT", "BOOL": "BOOLEAN"}
    assert {field.field_type for field in result.schema[:3]} == {names.get(kind, kind)}


def test_an_impossible_value_of_a_parameter_is_refused(client):
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("p", "INT64", "many")])
    with pytest.raises(BadRequest, match="Invalid value of query parameter p"):
        client.query("SELECT @p AS p", job_config=config).result()


NAN = "CAST('nan' AS FLOAT64)"


def test_nan_equals_nothing_and_comes_first(rows):
    """https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#floating_point_semantics"""
    x = f"(SELECT {NAN} AS x)"
    (found,) = rows(
        f"SELECT x IN (1.0, {NAN}) AS a, x IN UNNEST([{NAN}]) AS b, x IN (SELECT {NAN}) AS c, x > 1 AS d, x <= 1 AS e, "
        f"x BETWEEN 0 AND 5 AS f, CASE x WHEN x THEN TRUE ELSE FALSE END AS g FROM {x}"
    )
    assert set(found.values()) == {False}
    assert rows(f"SELECT x NOT IN (2.0) AS a, x <> x AS b, IS_NAN(NULLIF(x, x)) AS c FROM {x}") == [
        {"a": True, "b": True, "c": True}
    ]
    assert rows(f"SELECT COUNT(*) AS n FROM {x} AS a JOIN {x} AS b ON a.x = b.x") == [{"n": 0}]
    assert rows(f"SELECT COUNT(*) AS n FROM UNNEST([{NAN}, {NAN}]) AS x GROUP BY x") == [{"n": 2}]
    numbers = f"UNNEST([1.0, {NAN}, CAST('-inf' AS FLOAT64), NULL]) AS x"
    for order, expected in (("x", [None, "nan", "-inf", "1"]), ("x DESC", ["1", "-inf", "nan", None])):
        found = rows(f"SELECT CAST(x AS STRING) AS s FROM (SELECT x FROM {numbers} ORDER BY {order})")
        assert [row["s"] for row in found] == expected
    assert rows(f"SELECT ROW_NUMBER() OVER (ORDER BY x) AS n FROM {numbers} QUALIFY IS_NAN(x)") == [{"n": 2}]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("j.a[0]", "1"),
        ("j['a'][1]", "2"),
        ("j['a'][n]", "2"),
        ("j.a[5]", None),
        ("j.a[-1]", None),
        ("j[k]", "[1,2]"),
        ("""JSON '{"a":[1,2]}'.a[0]""", "1"),
        ("""JSON '{"a":[1,2]}'['a']""", "[1,2]"),
        ("JSON '[1,2]'[1]", "2"),
        ("(SELECT xs[1] FROM (SELECT [3, 4] AS xs))", 4),
    ],
)
def test_subscripts_count_from_0(rows, expression, expected):
    sql = f"SELECT {expression} AS x FROM (SELECT JSON '{{\"a\":[1,2]}}' AS j, 1 AS n, 'a' AS k)"
    ((value,),) = (
        row.values() for row in rows(sql.replace(f"SELECT {expression}", f"SELECT TO_JSON_STRING({expression})"))
    )
    assert value == ("null" if expected is None else str(expected))


def test_views_of_the_information_schema_have_their_columns(rows, arrays):
    dataset, _, table = arrays.partition(".")
    assert rows(f"SELECT table_name FROM {dataset}.INFORMATION_SCHEMA.TABLES") == [{"table_name": table}]
    found = rows(f"SELECT * FROM {dataset}.INFORMATION_SCHEMA.COLUMNS ORDER BY ordinal_position")
    assert [row["column_name"] for row in found] == ["id", "xs", "s"]
