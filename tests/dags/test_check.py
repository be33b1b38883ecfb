"""The checker, on a new pipeline from the template, with a mistake in it."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foreserve.refresh import Refresh
from refresh_factory.check.rules import check_pipelines, missing_schemas
from refresh_factory.new import new_pipeline
from refresh_factory.pipeline import PIPELINES, load_pipeline
from refresh_factory.templates import Templates

ROOT = Path(__file__).parents[2]
TABLES = """
shop.t:
  id: STRING
  x: STRING
  d: DATE
shop.customers:
  customer_id: INT64
  recency_weeks: INT64
  frequency: INT64
  log_spend: NUMERIC
"""
GOOD_PREDICTION = "SELECT 1 AS entity_id, STRUCT(2 AS x) AS prediction"
SHOP = f"""
shop.transactions:
  customer_id: STRING
  order_date: DATE
  amount_usd: FLOAT64
{TABLES}"""
GATE = {
    "pipeline_yaml": "model: churn\nentity_type: customer\n"
    "quality_gate: {metrics: {davies_bouldin_index: {maximum: 1}}}\n"
}
TRAIN = "CREATE OR REPLACE MODEL {{ model }} OPTIONS (model_type = 'KMEANS') AS SELECT 1 AS x"


@pytest.fixture
def folder(tmp_path):
    return new_pipeline("churn", tmp_path)


@pytest.fixture
def check(folder):
    """Writes files of the pipeline; returns the problems, with file names in place of paths."""

    def check_file(**files):
        for name, text in files.items():
            (folder / re.sub("_(yaml|sql|py)$", r".\1", name)).write_text(text)
        return [str(problem).removeprefix(f"{folder}/") for problem in check_pipelines([folder])]

    return check_file


def errors(problems):
    return [problem for problem in problems if ": warning: " not in problem]


def edited(folder, name, old, new):
    text = (folder / name).read_text()
    assert old in text
    return text.replace(old, new)


def test_the_template_and_the_projects_pipelines_are_right(folder):
    assert check_pipelines([folder, *(path.parent for path in PIPELINES.glob("*/pipeline.yaml"))]) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("train.sql", "{{ model }}", "{{ model | quote }}", r"train.sql:3: not a Jinja template: No filter named 'qu"),
        ("train.sql", "2 * var", "0 / 0 * var", r"train.sql:9: division by zero"),
        ("train.sql", "'NO_SPLIT'", "'NO_SPLIT", r"train.sql:7: .*Unclosed string"),
        ("labelled.sql", "frequency,", "frequency frequency often,", r"labelled.sql:7: .* got identifier .often"),
    ],
)
def test_a_mistake_is_named_with_file_and_line(check, folder, file, old, new, expected):
    """tests/dags/mistakes has more of them."""
    (problem, *_) = check(**{file.replace(".", "_"): edited(folder, file, old, new)})
    assert re.match(expected, problem), problem


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("DELETE FROM {{ dataset }}.t WHERE TRUE", "predict.sql:1: DELETE is not a query; write one SELECT"),
        ("\nCALL x()", "predict.sql:2: CALL is not a query; write one SELECT"),
        ("SELECT 1 AS entity_id, /* ...", "predict.sql:1: .*Unclosed comment"),
        ("SELECT 1 AS entity_id,\n  'two\n  'three' AS prediction", "predict.sql:2: .*Unclosed string"),
        (
            "SELECT 1 AS entity_id,\n  'two\n  three' AS prediction",
            "predict.sql:2: .*Unclosed string",
        ),
        ("", "predict.sql:1: no statement; write one"),
        ("SELECT 1 AS entity_id,\n  FORMAT('{%t}', 2) AS prediction", "predict.sql:2: .*write {% raw %} before"),
        ("SELECT 1 AS entity_id,\n  '{{\"a\": 1}}' AS prediction", "predict.sql:2: .*write {% raw %} before"),
        ("SELECT 1 AS entity_id,\n  r'^.{#}' AS prediction", "predict.sql:2: .*write {% raw %} before"),
    ],
)
def test_what_is_no_query_is_refused(check, query, expected):
    (problem,) = check(predict_sql=query)
    assert re.match(expected, problem), problem


def test_an_error_in_a_shared_file_names_that_file_once(check, folder):
    text = '{% from "shared/customers.sql" import no_such with context %}SELECT {{ no_such() }}'
    assert check(evaluate_sql=text)[0].startswith("evaluate.sql:1: ")


def test_what_no_refresh_renders_is_checked_too(check):
    problems = check(predict_sql="{% if variables.enough_usd > 99 %}\n{{ gone }}\n{% endif %}\n" + GOOD_PREDICTION)
    names = "project, dataset, model, cutoff, variables, and what the file defines or imports"
    assert problems == [f"predict.sql:2: gone: not defined; there are {names}"]


def test_the_held_out_rows_cannot_depend_on_the_model(check):
    (problem,) = check(evaluate_sql="SELECT 1 AS spends_enough\nFROM {{ model }}")
    assert problem.startswith("evaluate.sql:2: model: not defined; there are project, dataset, cutoff, variables,")


@pytest.mark.parametrize(
    "query",
    [
        GOOD_PREDICTION,
        "SELECT STRUCT(2 AS x) AS prediction, 1 AS entity_id",
        "SELECT STRUCT(2 AS x) AS Prediction, 1 AS ENTITY_ID",
        f"{GOOD_PREDICTION}; -- the end",
        f"{GOOD_PREDICTION};\n/* the end */\n",
        "SELECT 1 AS entity_id, {% raw %}FORMAT('{%t}', 2){% endraw %} AS prediction",
        f"WITH made AS ({GOOD_PREDICTION}) SELECT * FROM made",
        f"SELECT * FROM ({GOOD_PREDICTION})",
        f"{GOOD_PREDICTION} UNION ALL {GOOD_PREDICTION};",
        "SELECT SPLIT(x, '\\n')[OFFSET(0)] AS entity_id, r'\\d' || '''two\nlines''' AS prediction FROM shop.t",
        "FROM shop.t |> SELECT id AS entity_id, STRUCT(x) AS prediction",
        "SELECT id AS entity_id, r AS prediction FROM ML.RECOMMEND(MODEL {{ model }})",
        "SELECT id AS entity_id, r AS prediction FROM ML.FORECAST(MODEL {{ model }}, STRUCT(7 AS horizon))",
        "FROM ML.EXPLAIN_PREDICT(MODEL {{ model }}, TABLE shop.customers) |> SELECT 1 AS entity_id, 2 AS prediction",
        "SELECT shop.name(id) AS entity_id, x AS prediction FROM shop.t",
        "SELECT id AS entity_id, IF(DATE({{ cutoff }}) > d, 1, 0) AS prediction FROM `{{ project }}.shop.t`",
    ],
)
def test_any_query_with_the_two_columns_will_do(check, folder, query):
    schemas = (folder / "schemas.yaml").read_text() + TABLES
    assert errors(check(predict_sql=query, schemas_yaml=schemas)) == []


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ("SELECT * FROM shop.t", "id, x, d"),
        (f"SELECT * EXCEPT (prediction) FROM ({GOOD_PREDICTION})", "entity_id"),
        ("SELECT AS STRUCT 1 AS a", "one without a name"),
        ("SELECT t FROM shop.t", "t"),
    ],
)
def test_other_columns_are_refused(check, query, there):
    (problem,) = check(predict_sql=query, schemas_yaml=TABLES, train_sql=TRAIN, evaluate_sql="SELECT 1 AS x", **GATE)
    assert problem == f"predict.sql:1: the columns must be entity_id and prediction, not {there}; name them with AS"


@pytest.mark.parametrize(
    ("prediction", "warnings"),
    [("x", 1), ("[x]", 1), ("STRUCT(x)", 0), ("[STRUCT(x)]", 0)],
)
def test_a_prediction_without_names_is_a_warning(check, prediction, warnings):
    found = check(predict_sql=f"SELECT id AS entity_id, {prediction} AS prediction FROM shop.t", schemas_yaml=SHOP)
    assert ([problem.count(": warning: prediction: ") for problem in found], errors(found)) == ([1] * warnings, [])


def test_without_recorded_schemas_only_names_and_types_are_not_checked(check, folder):
    (folder / "schemas.yaml").unlink()
    assert check() == []
    (hint,) = missing_schemas([folder])
    assert str(hint) == (
        f"{folder}/schemas.yaml: warning: no schemas are recorded, so names and types in SQL are not checked; "
        "run make record-schemas NAME=churn (make up first, or BIGQUERY=cloud)"
    )
    assert errors(check(predict_sql="SELECT a AS id, b AS prediction FROM t")) == [
        "predict.sql:1: the columns must be entity_id and prediction, not id, prediction; name them with AS"
    ]
    assert errors(check(predict_sql="SELECT * FROM t")) == []


@pytest.mark.parametrize(
    "train",
    [
        TRAIN,
        TRAIN.replace("OPTIONS", "TRANSFORM (ML.BUCKETIZE(x, [1, 2]) AS y) OPTIONS"),
        "CREATE OR REPLACE MODEL {{ model }} REMOTE WITH CONNECTION `us.c` OPTIONS (endpoint = 'e')",
        TRAIN.replace("KMEANS", "ARIMA_PLUS"),
    ],
)
def test_any_type_of_model_will_do(check, folder, train):
    gate = edited(folder, "pipeline.yaml", "roc_auc", "davies_bouldin_index")
    files = {"predict_sql": GOOD_PREDICTION, "evaluate_sql": "SELECT 1 AS x", "pipeline_yaml": gate}
    assert errors(check(train_sql=train, **files)) == []


def test_a_warning_is_shown_and_is_no_error(folder):
    file = folder / "pipeline.yaml"
    file.write_text(file.read_text().replace("prediction_gate:", "checks:"))
    found = run("-m", "refresh_factory.check", str(folder))
    assert re.search(r"pipeline.yaml:\d+: warning: checks: the old name of prediction_gate; rename the f", found.stdout)
    assert (found.returncode, found.stdout.endswith("nothing wrong in churn\n")) == (0, True)


LINES = st.sampled_from(
    [
        "L",
        "{# L #}",
        "{# L\nL #}",
        "{% if true %}\nL\n{% endif %}",
        "{% if true %}L{% endif %} L",
        "  {%- if true %}  L\n  {%- endif %}",
        "{% set x = 1 %}",
        "{{ model }} L {{ project }}\nL",
        "{% macro m() %}\nL\nL {{ cutoff }}\n{% endmacro %}\n{{ m() }} L",
        "{% raw %}L\nL{% endraw %}",
        "",
    ]
)


@settings(deadline=None)
@given(st.lists(LINES, min_size=1, max_size=8))
def test_every_piece_of_sql_is_traced_to_its_line(lines):
    """Each L is replaced by the number of its line, so the rendered text says which line it must be traced to."""
    numbered = [
        re.sub(r"\bL\b", f"line_{number}_", line) for number, line in enumerate("\n".join(lines).split("\n"), 1)
    ]
    with tempfile.TemporaryDirectory() as pipelines:
        folder = new_pipeline("churn", Path(pipelines))
        (folder / "train.sql").write_text("\n".join(numbered))
        refresh = Refresh("churn", 1, "p.d", cutoff="2026-01-01")
        rendered = Templates(folder, load_pipeline(folder), "p").render("train.sql", refresh, "m")
    assert "\x01" not in rendered.sql
    for found in re.finditer(r"line_(\d+)_", rendered.sql):
        assert rendered.place(found.start()) == (folder / "train.sql", int(found[1]))


OUTCOMES = (
    "SELECT customer_id AS entity_id, TRUE AS outcome, TIMESTAMP '2026-01-01' AS observed_at FROM `shop.customers`"
)
COMPARED = "outcomes: {field: probability}"


@pytest.fixture
def with_outcomes(check, folder):
    """Checks a pipeline with this outcomes.sql; returns its errors."""

    def check_outcomes(sql, section=COMPARED):
        text = (folder / "pipeline.yaml").read_text()
        schemas = (folder / "schemas.yaml").read_text() + TABLES
        return errors(check(outcomes_sql=sql, pipeline_yaml=f"{text}\n{section}\n", schemas_yaml=schemas))

    return check_outcomes


def test_outcomes_that_fit_are_accepted(with_outcomes):
    assert with_outcomes(OUTCOMES) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("AS observed_at", "AS seen_at", "outcomes.sql:1: the columns must be entity_id, observed_at, outcome, not "),
        ("TIMESTAMP '", "DATE '", "outcomes.sql:1: observed_at: DATE, but must be the TIMESTAMP at which readers had"),
        ("TRUE AS", "'yes' AS", "outcomes.sql:1: outcome: STRING; write a BOOL to compare with a probability"),
        ("TRUE AS", "1 AS", "outcomes.sql:1: outcome: INT64; a number is compared with one that a regression predicts"),
        ("customer_id AS", "[customer_id] AS", "outcomes.sql:1: entity_id: ARRAY<INT64> does not cast to STRING"),
        ("customer_id", "custmer_id", "outcomes.sql:1: Unrecognized name: custmer_id"),
        ("TRUE", "{{ model }}", "outcomes.sql:1: model: not defined"),
    ],
)
def test_outcomes_that_do_not_fit_are_found(with_outcomes, old, new, message):
    (found,) = with_outcomes(OUTCOMES.replace(old, new, 1))
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("outcomes: {field: chance}", "outcomes.field: chance: the predictions of predict.sql have no such field"),
        ("outcomes: {min_outcomes: 5}", "outcomes.field: missing; name the field to compare, one of "),
    ],
)
def test_a_compared_field_that_is_not_there_is_found(with_outcomes, section, message):
    (found,) = with_outcomes(OUTCOMES, section)
    assert message in found


def run(*words):
    paths = (ROOT, ROOT / "dags", ROOT / "plugins", ROOT / "local_bigquery" / "src")
    environment = {"PYTHONPATH": ":".join(map(str, paths)), "HOME": str(Path.home())}
    return subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def test_the_command_fails_where_something_is_wrong_and_says_what(folder):
    assert run("-m", "refresh_factory.check", str(folder)).stdout == "nothing wrong in churn\n"
    shutil.rmtree(folder)
    found = run("-m", "refresh_factory.check", str(folder))
    assert (found.returncode, found.stdout.count("the file is missing; a pipeline needs it")) == (1, 4)
    assert found.stdout.endswith("4 problems in churn\n")


def test_checking_imports_neither_airflow_nor_googles_clients():
    code = "import sys, refresh_factory.check.rules; print({name.split('.')[0] for name in sys.modules})"
    assert not {"'airflow'", "'pandas'", "'grpc'"} & set(run("-c", code).stdout.strip("{}\n").split(", "))
