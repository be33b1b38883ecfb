"""Scripts are parsed into the steps of BigQuery's procedural language."""

import pytest

from local_bigquery.errors import BigQueryError
from local_bigquery.sql.scripts import (
    Assert,
    Assign,
    Block,
    Declare,
    ExecuteImmediate,
    For,
    If,
    Jump,
    Loop,
    Raise,
    Sql,
    name_parameters,
    parse_script,
    sql_texts,
    walk,
)


@pytest.mark.parametrize(
    ("sql", "steps"),
    [
        ("SELECT 1; ;\nSELECT ';' -- ;\n;", (Sql("SELECT 1"), Sql("SELECT ';'"))),
        ("SELECT CASE WHEN a THEN 1 END, `end`, '''x;y'''", (Sql("SELECT CASE WHEN a THEN 1 END, `end`, '''x;y'''"),)),
        ("DECLARE a, b DATE DEFAULT '2020-01-01'", (Declare(("a", "b"), "DATE", "'2020-01-01'"),)),
        ("DECLARE a ARRAY<STRUCT<x INT64>>", (Declare(("a",), "ARRAY<STRUCT<x INT64>>", None),)),
        ("DECLARE a DEFAULT (SELECT 1)", (Declare(("a",), None, "(SELECT 1)"),)),
        ("SET a = 1; SET (a, b) = (1, 2)", (Assign(("a",), "1"), Assign(("a", "b"), "(1, 2)"))),
        ("set @@time_zone = 'UTC'", (Sql("set @@time_zone = 'UTC'"),)),
        (
            "IF CASE WHEN x THEN 1 END = 1 THEN SELECT 1; ELSEIF y THEN SELECT 2; ELSE SELECT 3; END IF;",
            (
                If(
                    (("CASE WHEN x THEN 1 END = 1", (Sql("SELECT 1"),)), ("y", (Sql("SELECT 2"),))),
                    (Sql("SELECT 3"),),
                ),
            ),
        ),
        ("WHILE a < 3 DO BREAK; END WHILE", (Loop((Jump("BREAK"),), condition="a < 3"),)),
        ("LOOP LEAVE; ITERATE; END LOOP", (Loop((Jump("BREAK"), Jump("CONTINUE"))),)),
        ("REPEAT SELECT 1; UNTIL a END REPEAT", (Loop((Sql("SELECT 1"),), until="a"),)),
        (
            "FOR r IN (SELECT 1 AS x) DO SELECT r.x; END FOR",
            (For("r", "SELECT 1 AS x", (Sql("SELECT r.x"),)),),
        ),
        ("BEGIN SELECT 1; END", (Block((Sql("SELECT 1"),), None),)),
        ("BEGIN EXCEPTION WHEN ERROR THEN RAISE; END", (Block((), (Raise(None),)),)),
        ("BEGIN TRANSACTION; BEGIN; COMMIT", (Sql("BEGIN TRANSACTION"), Sql("BEGIN"), Sql("COMMIT"))),
        ("RAISE USING MESSAGE = CONCAT('a', 'b')", (Raise("CONCAT('a', 'b')"),)),
        ("ASSERT CAST(x AS STRING) = 'a' AS 'why'", (Assert("CAST(x AS STRING) = 'a'", "'why'"),)),
        (
            "EXECUTE IMMEDIATE 'SELECT ?' INTO a, b USING f(1, 2), 3 AS x",
            (ExecuteImmediate("'SELECT ?'", ("a", "b"), ("f(1, 2)", "3 AS x")),),
        ),
        (
            "CREATE OR REPLACE PROCEDURE d.p() BEGIN IF a THEN SELECT 1; END IF; END; RETURN",
            (
                Sql("CREATE OR REPLACE PROCEDURE d.p() BEGIN IF a THEN SELECT 1; END IF; END"),
                Jump("RETURN"),
            ),
        ),
    ],
)
def test_a_script_is_read_statement_by_statement(sql, steps):
    assert parse_script(sql) == steps


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("IF a THEN SELECT 1;", r"Unexpected end of script at \[1:19\]"),
        ("IF a THEN SELECT 1; END", "Unexpected end of script"),
        ("WHILE a SELECT 1; END WHILE", 'Unexpected ";"'),
        ("BEGIN EXCEPTION WHEN OTHERS THEN SELECT 1; END", 'Unexpected "OTHERS"'),
        ("SET", "Unexpected end of script"),
        ("DECLARE a INT64 DEFAULT", "Unexpected end of script"),
        ("BREAK SELECT 1", 'Unexpected "SELECT"'),
    ],
)
def test_what_does_not_fit_together_is_an_invalid_query(sql, message):
    with pytest.raises(BigQueryError, match=message) as raised:
        parse_script(sql)
    assert raised.value.reason == "invalidQuery"


SCRIPT = """
DECLARE a DEFAULT 1; BEGIN SET a = 2; EXCEPTION WHEN ERROR THEN RAISE USING MESSAGE = 'm'; END;
IF a = 3 THEN SELECT 4; ELSE LOOP ASSERT a = 5; END LOOP; END IF;
FOR r IN (SELECT 6) DO EXECUTE IMMEDIATE 's' USING 7; END FOR
"""


def test_all_sql_of_a_script_is_yielded():
    found = [" ".join(text.split()) for text in sql_texts(parse_script(SCRIPT))]
    assert found == [
        "SELECT 1", "SELECT 2", "SELECT 'm'", "SELECT a = 3", "SELECT 4", "SELECT a = 5", "SELECT 6", "SELECT 's'",
        "SELECT 7",
    ]  # fmt: skip


def test_all_steps_of_a_script_are_yielded():
    assert [type(step) for step in walk(parse_script(SCRIPT))] == [
        Declare, Block, Assign, Raise, If, Sql, Loop, Assert, For, ExecuteImmediate,
    ]  # fmt: skip


def test_positional_parameters_get_names_but_strings_and_comments_keep_their_question_marks():
    assert name_parameters("SELECT ?, '?', `?`, [?] -- ?\n, ?", "p") == ("SELECT @p0, '?', `?`, [@p1] -- ?\n, @p2", 3)
