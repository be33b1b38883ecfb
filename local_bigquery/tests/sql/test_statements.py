"""BigQuery ML in a statement is parsed, and nothing else changes."""

import pytest

from local_bigquery.errors import BigQueryError
from local_bigquery.sql import DIALECT
from local_bigquery.sql.ml_calls import next_call, replace_call, source_query
from local_bigquery.sql.statements import CreateModel, DropModel, MLCall, OtherStatement, contains_ml, parse


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT model, ml.x FROM d.model AS ml",
        "SELECT 'ML.PREDICT(MODEL m, TABLE t)'",
        "SELECT 1 -- ML.PREDICT(MODEL m, TABLE t)",
        "SELEC model",
        "CREATE TABLE d.model AS SELECT 1 AS model",
    ],
)
def test_a_statement_without_bigquery_ml_is_known_as_such(sql):
    assert not contains_ml(parse(sql))


def test_create_model_is_read_with_its_options():
    statement = parse(
        "CREATE OR REPLACE MODEL `p.d.m` OPTIONS(MODEL_TYPE='LOGISTIC_REG', input_label_cols=['y'], l2_reg=0.5, "
        "max_iterations=20, early_stop=FALSE, class_weights=[STRUCT('a', 0.5), ('b', 2)]) AS WITH x AS (SELECT 1 AS y) "
        "SELECT * FROM x"
    )
    assert isinstance(statement, CreateModel)
    assert (statement.path.catalog, statement.path.db, statement.path.name) == ("p", "d", "m")
    assert statement.replace
    assert not statement.if_not_exists
    assert statement.options == {
        "model_type": "LOGISTIC_REG",
        "input_label_cols": ["y"],
        "l2_reg": 0.5,
        "max_iterations": 20,
        "early_stop": False,
        "class_weights": [("a", 0.5), ("b", 2)],
    }
    assert statement.query.sql(DIALECT) == "WITH x AS (SELECT 1 AS y) SELECT * FROM x"


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE TEMP MODEL d.m OPTIONS(model_type='LINEAR_REG') AS SELECT 1 AS a", "TEMPORARY"),
        ("CREATE MODEL d.m OPTIONS(model_type='LINEAR_REG')", "training query"),
        ("CREATE MODEL d.m OPTIONS(l2_reg=RAND()) AS SELECT 1 AS a", "'l2_reg' must be a constant"),
        ("CREATE MODEL d.m OPTIONS(l2_reg=1, L2_REG=2) AS SELECT 1 AS a", "Duplicate option 'l2_reg'"),
        ("CREATE PROCEDURE d.p() BEGIN SELECT * FROM ML.EVALUATE(MODEL d.m); END", "CREATE PROCEDURE"),
        ("SELECT * FROM ML.PREDICT(MODEL d.m, (SELECT 1)", "no closing parenthesis"),
        ("SELECT * FRO ML.PREDICT(MODEL d.m, (SELECT 1))", "Syntax error"),
        ("SELECT * FROM ML.PREDICT(MODEL d.m, (SELEC 1))", "argument of ML.PREDICT"),
        ("SELECT * FROM ML.PREDICT(MODEL d.m, (SELECT 1), 0.5)", "0.5 is not a query"),
        ("SELECT * FROM ML.PREDICT(MODEL d.m, TABLE d.t, TABLE d.t)", "unexpected argument TABLE d.t"),
    ],
)
def test_what_cannot_be_read_is_an_invalid_query(sql, message):
    with pytest.raises(BigQueryError, match=message) as raised:
        parse(sql)
    assert raised.value.reason == "invalidQuery"


@pytest.mark.parametrize(("sql", "if_exists"), [("DROP MODEL d.m", False), ("drop model if exists d.m", True)])
def test_drop_model_is_read(sql, if_exists):
    statement = parse(sql)
    assert isinstance(statement, DropModel)
    assert (statement.path.db, statement.path.name, statement.if_exists) == ("d", "m", if_exists)


def test_a_call_is_read_with_its_arguments_in_any_case_and_layout():
    statement = parse(
        "SELECT p.* FROM ml . predict(/* its */\n  model `p.d.m`, -- comment, with (\n  (SELECT ')', [1, 2]),\n"
        "  -- cut\n  STRUCT(0.25 AS threshold)) AS p WHERE p.x > @y"
    )
    assert isinstance(statement, OtherStatement)
    call = next_call(statement.tree)
    assert call.args["function"] == "PREDICT"
    assert (call.this.catalog, call.this.db, call.this.name) == ("p", "d", "m")
    assert source_query(call).sql(DIALECT) == "SELECT ')', [1, 2]"
    assert call.args["settings"].sql(DIALECT) == "STRUCT(0.25 AS threshold)"
    replace_call(call, "p", "_x", "t")
    assert statement.tree.sql(DIALECT) == "SELECT p.* FROM `p`.`_x`.`t` AS p WHERE p.x > @y"


def test_the_table_form_reads_the_table():
    call = next_call(parse("SELECT * FROM ML.EVALUATE(MODEL d.m, /* all of */ TABLE `p.d.t`)").tree)
    assert source_query(call).sql(DIALECT) == "SELECT * FROM `p.d.t`"


def test_a_call_may_have_no_input():
    assert source_query(next_call(parse("SELECT * FROM ML.EVALUATE(MODEL d.m)").tree)) is None


def test_inputs_take_along_the_expressions_they_refer_to_and_no_others():
    statement = parse(
        "WITH a AS (SELECT 1 AS x), b AS (SELECT * FROM a), c AS (SELECT 3) "
        "SELECT * FROM ML.PREDICT(MODEL d.m, (SELECT * FROM b)), c"
    )
    assert source_query(next_call(statement.tree)).sql(DIALECT) == (
        "WITH a AS (SELECT 1 AS x), b AS (SELECT * FROM a) SELECT * FROM (SELECT * FROM b) AS ml_input"
    )


def test_an_inner_expression_hides_an_outer_one_of_the_same_name():
    statement = parse(
        "WITH a AS (SELECT 1 AS x) SELECT * FROM (WITH a AS (SELECT * FROM a) "
        "SELECT * FROM ML.PREDICT(MODEL d.m, TABLE a))"
    )
    assert source_query(next_call(statement.tree)).sql(DIALECT) == (
        "WITH a AS (SELECT 1 AS x) SELECT * FROM (WITH a AS (SELECT * FROM a) "
        "SELECT * FROM (SELECT * FROM a) AS ml_input) AS ml_input"
    )


def test_calls_run_in_the_order_in_which_they_depend_on_each_other():
    statement = parse(
        "WITH p AS (SELECT * FROM ML.PREDICT(MODEL d.first, TABLE d.t)) "
        "SELECT * FROM ML.PREDICT(MODEL d.third, (SELECT * FROM ML.PREDICT(MODEL d.second, TABLE p)))"
    )
    order = []
    while (call := next_call(statement.tree)) is not None:
        assert source_query(call).find(MLCall) is None
        order.append((call.this.name, source_query(call).sql(DIALECT)))
        replace_call(call, "p", "_x", f"t{len(order)}")
    assert [name for name, _ in order] == ["first", "second", "third"]
    assert order[2][1] == "SELECT * FROM `p`.`_x`.`t2`"
    assert statement.tree.sql(DIALECT) == ("WITH p AS (SELECT * FROM `p`.`_x`.`t1`) SELECT * FROM `p`.`_x`.`t3`")
