"""Google's analyzer: what BigQuery takes is taken, and a message has the place of the mistake."""

import pytest

from local_bigquery.analyzer import (
    Catalog,
    GoogleSqlError,
    Output,
    Type,
    UnknownOutputError,
    analyze,
    parse,
    tables_of,
    type_of,
)

INT64, STRING = Type("INT64"), Type("STRING")
T = {
    "s": STRING,
    "i": INT64,
    "f": Type("FLOAT64"),
    "d": Type("DATE"),
    "ts": Type("TIMESTAMP"),
    "j": Type("JSON"),
    "a": Type.array(INT64),
    "st": Type.struct(x=INT64),
    "g": Type("GEOGRAPHY"),
}
SHARDS = {"x": INT64, "_TABLE_SUFFIX": STRING}


def output(call):
    """Each model returns one column, with its own name."""
    return Output({f"of_{call.model[-1]}": INT64}, keeps_input=call.has_input) if call.model else None


CATALOG = Catalog({"p.d.t": T, "p.d.events_*": SHARDS, "q.d.t": {"other": INT64}}, "p", output)


def columns(sql):
    return {name: str(kind) for name, kind in analyze(sql, CATALOG).columns}


@pytest.mark.parametrize("name", ["d.t", "`d.t`", "p.d.t", "`p.d.t`", "`p`.`d`.`t`", "`p.d`.t", "p.`d.t`"])
def test_a_table_is_found_by_each_form_of_its_name(name):
    assert columns(f"SELECT i FROM {name}") == {"i": "INT64"}


def test_tables_of_other_projects_have_their_own_columns():
    assert columns("SELECT * FROM q.d.t") == {"other": "INT64"}
    assert tables_of("WITH c AS (SELECT * FROM `q.d.t`) SELECT * FROM c, d.u") == {"q.d.t", "d.u"}


@pytest.mark.parametrize(
    "expression",
    [
        "CONTAINS_SUBSTR(s, 'x')",
        "COLLATE(s, 'und:ci')",
        "MAX_BY(s, i)",
        "ANY_VALUE(s HAVING MAX i)",
        "APPROX_TOP_COUNT(s, 2)",
        "HLL_COUNT.INIT(s)",
        "j.x.y[0]",
        "LAX_INT64(j.x)",
        "a[SAFE_OFFSET(0)]",
        "CAST(s AS DATE FORMAT 'YYYY')",
        "DATE_TRUNC(d, WEEK(MONDAY))",
        "d + 1",
        "ts > '2026-01-01'",
        "SAFE.SUBSTR(s, 1, 2)",
        "ST_DISTANCE(g, g)",
        "ARRAY(SELECT AS STRUCT x FROM UNNEST(a) AS x)",
        "SUM(i) OVER (ORDER BY d ROWS BETWEEN 6 PRECEDING AND CURRENT ROW)",
        "@parameter",
        "@@project_id",
    ],
)
def test_what_bigquery_has_is_taken(expression):
    assert columns(f"SELECT {expression} AS value FROM d.t").keys() == {"value"}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM d.t QUALIFY ROW_NUMBER() OVER (PARTITION BY s ORDER BY i) = 1",
        "SELECT s, COUNT(*) AS n FROM d.t GROUP BY ALL",
        "SELECT f FROM d.t GROUP BY f",
        "SELECT * FROM (SELECT s, i FROM d.t) PIVOT (SUM(i) FOR s IN ('a', 'b'))",
        "SELECT s, x FROM d.t, t.a AS x",
        "SELECT x FROM `d.events_*` WHERE _TABLE_SUFFIX > '2026'",
        "SELECT 1 AS date, 2 AS type, 3 AS value,",
        "FROM d.t |> WHERE i > 1 |> AGGREGATE COUNT(*) AS n GROUP BY s",
        "CREATE MODEL d.m REMOTE WITH CONNECTION `p.us.c` OPTIONS (endpoint = 'e')",
    ],
)
def test_statements_of_bigquery_are_taken(sql):
    analyze(sql, CATALOG)


@pytest.mark.parametrize(
    ("sql", "unknown"),
    [
        ("SELECT d.twice(i) FROM d.t", "d.twice"),
        ("SELECT * FROM d.INFORMATION_SCHEMA.TABLES", "INFORMATION_SCHEMA"),
        ("SELECT * FROM VECTOR_SEARCH(TABLE d.t, 'a', TABLE d.t)", "VECTOR_SEARCH"),
        ("SELECT * FROM ML.TRANSLATE(TABLE d.t)", "ML.TRANSLATE"),
    ],
)
def test_what_cannot_be_known_is_no_mistake(sql, unknown):
    parse(sql)
    with pytest.raises(UnknownOutputError, match=unknown):
        analyze(sql, CATALOG)


def test_each_call_has_the_columns_of_its_own_model_and_input():
    sql = """
    WITH first AS (SELECT i, of_one FROM ML.PREDICT(MODEL d.one, (SELECT i FROM d.t)))
    SELECT of_one, of_two, weights.of_three
    FROM ML.PREDICT(MODEL `p.d.two`, TABLE first, STRUCT(0.5 AS threshold)) AS second
    CROSS JOIN ML.WEIGHTS(MODEL d.three) AS weights
    """
    assert list(columns(sql)) == ["of_one", "of_two", "of_three"]
    (statement,) = parse(sql)
    assert [(call.function, call.model, list(call.settings)) for call in statement.calls] == [
        ("ML.PREDICT", ("d", "one"), []),
        ("ML.PREDICT", ("p", "d", "two"), ["threshold"]),
        ("ML.WEIGHTS", ("d", "three"), []),
    ]
    inputs = analyze(sql, CATALOG).inputs
    assert {index: list(found) for index, found in inputs.items()} == {0: ["i"], 1: ["i", "of_one"]}


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT nope",
        "SELECT 'é😀', nope",
        "SELECT\n\t1,\t\tnope",
        "SELECT 1,\r\n  nope",
        "SELECT 1,\r  'é' || nope",
        "SELECT of_m, nope FROM ML.PREDICT(MODEL `p.d.m`, (SELECT i FROM d.t))",
        "SELECT of_m FROM ML.PREDICT(MODEL `p.d.m`,\n  (SELECT 'é', nope FROM d.t))",
        "SELECT of_m FROM ML.PREDICT(MODEL `p.d.m`, (SELECT 'é' FROM d.t), STRUCT(0.5 AS x)) WHERE 'é' = nope",
    ],
)
def test_a_message_has_the_place_of_the_mistake(sql):
    with pytest.raises(GoogleSqlError, match=r"^Unrecognized name: nope$") as caught:
        analyze(sql, CATALOG)
    assert sql[caught.value.offset :].startswith("nope")


def test_functions_keep_their_names_in_messages():
    with pytest.raises(GoogleSqlError, match=r"^Invalid table-valued function ML.PREDICT; Column name is duplicated"):
        analyze("SELECT * FROM ML.PREDICT(MODEL d.m, (SELECT 1 AS of_m))", CATALOG)
    with pytest.raises(GoogleSqlError, match=r"^ML.PREDICT takes a query or TABLE after the model$"):
        analyze("SELECT * FROM ML.PREDICT(MODEL d.m, 5, (SELECT 1 AS i))", CATALOG)


def test_a_statement_that_is_too_deep_harms_no_later_one():
    with pytest.raises(UnknownOutputError, match="a statement of this depth"):
        parse(f"SELECT {'+'.join(['1'] * 5_000)}")
    assert columns("SELECT 1 AS x") == {"x": "INT64"}


def test_types_are_read_and_written_alike():
    for text in ("INT64", "ARRAY<STRUCT<a INT64, b ARRAY<DATE>>>", "STRUCT<x JSON>", "RANGE<DATE>"):
        assert str(type_of(text)) == text
    with pytest.raises(GoogleSqlError, match="Type not found: INT46"):
        type_of("INT46")
