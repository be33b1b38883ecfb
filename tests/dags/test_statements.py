"""The statements around the data team's SQL, run by the local BigQuery."""

import json
import re

import numpy as np
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from foreserve.operators.bigquery import prediction_fields
from foreserve.prediction_gate import PredictionGate
from foreserve.refresh import Refresh, StatementError
from prediction_store.layout import MAX_ENTITY_ID_BYTES
from refresh_factory.pipeline import Pipeline
from refresh_factory.statements import Statements, without_semicolon

DATASET = "demo.statements"
CUTOFF = "2026-11-23T05:00:00+00:00"


@pytest.fixture(scope="module")
def warehouse(bigquery):
    warehouse = bq.Client("demo", credentials=AnonymousCredentials())
    warehouse.create_dataset(DATASET)
    return warehouse


@pytest.fixture
def statements(tmp_path):
    """Makes the statements of a pipeline with the given prediction query."""

    def make(query="SELECT 1 AS entity_id, STRUCT(0.5 AS p) AS prediction", **fields):
        (tmp_path / "predict.sql").write_text(query)
        pipeline = Pipeline.model_validate(
            {
                "model": "churn",
                "entity_type": "customer",
                "quality_gate": {"metrics": {"roc_auc": {"minimum": 0.5}}},
                **fields,
            }
        )
        return Statements(tmp_path, pipeline, "demo")

    return make


@pytest.fixture
def refresh(warehouse):
    """A refresh that no other test uses."""
    refresh.version = getattr(refresh, "version", 0) + 1
    return Refresh("churn", refresh.version, DATASET, cutoff=CUTOFF)


def rows_sql(rows):
    """A query of rows, as two arrays: the emulator parses them in a sixth of the time of an array of structs."""
    ids = ", ".join(repr(entity) for entity, _ in rows)
    values = ", ".join(str(payload) for _, payload in rows)
    return (
        "SELECT id AS entity_id, STRUCT(value AS p) AS prediction "
        f"FROM UNNEST([{ids}]) AS id WITH OFFSET AS i JOIN UNNEST([{values}]) AS value WITH OFFSET AS j ON i = j"
    )


def test_predictions_become_ids_and_json(warehouse, statements, refresh):
    warehouse.query_and_wait(statements().predict(refresh, "m"))
    rows = warehouse.query_and_wait(f"SELECT * FROM `{refresh.predictions_table}`")
    assert [tuple(row) for row in rows] == [("1", '{"p":0.5}')]


@pytest.mark.parametrize("text", ["Dear customer,\nwelcome", "  two\n\n  lines  \n"])
def test_a_string_of_several_lines_is_served_as_it_was_written(warehouse, statements, refresh, text):
    made = statements(f'''SELECT "a" AS entity_id, STRUCT("""{text}""" AS text) AS prediction''')
    warehouse.query_and_wait(made.predict(refresh, "m"))
    (row,) = warehouse.query_and_wait(f"SELECT payload FROM `{refresh.predictions_table}`")
    assert json.loads(row.payload) == {"text": text}


def test_a_string_of_several_lines_is_evaluated_as_it_was_written(statements, refresh, tmp_path):
    query = '''SELECT """Dear customer,\nwelcome""" AS text, 1 AS label'''
    (tmp_path / "evaluate.sql").write_text(query)
    later = Refresh("churn", refresh.version, DATASET, 5, "p.d.champion", cutoff=CUTOFF)
    assert statements().evaluate(later, compare=True).count(query) == 2


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("SELECT 1; -- the end", "SELECT 1 -- the end"),
        ("SELECT 1 ;\n# the end;\n/* of; it */ ;", "SELECT 1 \n# the end;\n/* of; it */ "),
        ("SELECT 1 -- the end;", "SELECT 1 -- the end;"),
        ("SELECT ';'", "SELECT ';'"),
        ("SELECT '-- it''s', \"#\"; -- \"", "SELECT '-- it''s', \"#\" -- \""),
        (r"SELECT r'\d', ''' ' ; ''' ;", r"SELECT r'\d', ''' ' ; ''' "),
        ('SELECT """ " -- """ AS `a;#`;', 'SELECT """ " -- """ AS `a;#`'),
        ("SELECT 1; SELECT 2;", "SELECT 1; SELECT 2"),
    ],
)
def test_the_semicolon_at_the_end_is_left_out(sql, expected):
    assert without_semicolon(sql) == expected


def test_a_query_may_end_in_a_semicolon_and_a_comment(warehouse, statements, refresh):
    made = statements("SELECT 'a;' AS ENTITY_ID, STRUCT(1 AS p) AS Prediction; -- the end")
    warehouse.query_and_wait(made.predict(refresh, "m"))
    rows = warehouse.query_and_wait(f"SELECT entity_id, payload FROM `{refresh.predictions_table}`")
    assert [tuple(row) for row in rows] == [("a;", '{"p":1}')]


def test_files_see_project_dataset_model_and_variables(statements, refresh):
    made = statements("{{ project }} {{ dataset }} {{ model }} {{ variables.items }} -- end ;", variables={"items": 3})
    assert f"demo `{DATASET}` `a.b.c` 3 -- end" in made.predict(refresh, "a.b.c")
    assert "`champ`" in made.predict(Refresh("churn", 1, DATASET, champion_model="champ", cutoff=CUTOFF), None)


def test_the_cutoff_is_a_timestamp(warehouse, statements, refresh):
    made = statements(
        "SELECT 'x' AS entity_id, STRUCT(FORMAT_TIMESTAMP('%F %T', {{ cutoff }}) AS before) AS prediction"
    )
    warehouse.query_and_wait(made.predict(refresh, "m"))
    rows = warehouse.query_and_wait(f"SELECT payload FROM `{refresh.predictions_table}`")
    assert [row.payload for row in rows] == ['{"before":"2026-11-23 05:00:00"}']


def test_held_out_rows_are_the_same_for_every_model(statements, refresh, tmp_path):
    (tmp_path / "evaluate.sql").write_text("{{ model }}")
    with pytest.raises(StatementError, match="'model' is undefined"):
        statements().evaluate(refresh, compare=True)


def test_an_undefined_name_is_an_error(statements, refresh):
    with pytest.raises(StatementError, match="'modle' is undefined"):
        statements("{{ modle }}").predict(refresh, "m")


def predict(warehouse, statements, refresh, rows, **fields):
    made = statements(rows_sql(rows), **fields)
    warehouse.query_and_wait(made.predict(refresh, "m"))
    return made


def test_the_first_changes_are_all_predictions(warehouse, statements, refresh):
    made = predict(warehouse, statements, refresh, [("a", 1), ("b", 2)])
    warehouse.query_and_wait(made.changes(refresh, "changes"))
    assert changes(warehouse, refresh) == {"a": '{"p":1}', "b": '{"p":2}'}


def changes(warehouse, refresh):
    return {row.entity_id: row.payload for row in warehouse.query_and_wait(f"SELECT * FROM `{refresh.changes_table}`")}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("changes", {"b": '{"p":3}', "c": None, "d": '{"p":4}'}),
        ("full", {"a": '{"p":1}', "b": '{"p":3}', "c": None, "d": '{"p":4}'}),
    ],
)
def test_changes_are_what_differs_and_what_vanished(warehouse, statements, refresh, scope, expected):
    predict(warehouse, statements, refresh, [("a", 1), ("b", 2), ("c", 2)])
    following = Refresh(
        "churn", refresh.version + 100, DATASET, active_predictions_table=refresh.predictions_table, cutoff=CUTOFF
    )
    made = predict(warehouse, statements, following, [("a", 1), ("b", 3), ("d", 4)])
    warehouse.query_and_wait(made.changes(following, scope))
    assert changes(warehouse, following) == expected


def measure(warehouse, made, refresh):
    warehouse.query_and_wait(made.measure(refresh, prediction_fields(warehouse, refresh)))
    return dict(next(iter(warehouse.query_and_wait(f"SELECT * FROM `{refresh.measures_table}`"))).items())


def errors(warehouse, made, refresh, **rules):
    return PredictionGate.model_validate(rules).errors(measure(warehouse, made, refresh), MAX_ENTITY_ID_BYTES)


def test_good_predictions_have_no_errors(warehouse, statements, refresh):
    made = predict(warehouse, statements, refresh, [("a", 1), ("b", 2)])
    assert errors(warehouse, made, refresh) == []


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 'a' AS entity_id, STRUCT(1 AS p) AS prediction LIMIT 0", "there are no predictions"),
        (
            "SELECT CAST(NULL AS STRING) AS entity_id, STRUCT(1 AS p) AS prediction",
            "predictions without an entity_id: 1",
        ),
        (rows_sql([("a", 1), ("a", 2), ("b", 1)]), "rows that repeat the entity_id of another: 1"),
        (rows_sql([("", 1)]), "the shortest here has 0"),
        (rows_sql([("x" * 4092, 1)]), "the longest 4092"),
        ("SELECT 'a' AS entity_id, REPEAT('x', 200) AS prediction", "max_payload_bytes is 100; .*has 202"),
    ],
)
def test_what_cannot_be_served_is_an_error(warehouse, statements, refresh, query, message):
    made = statements(query)
    warehouse.query_and_wait(made.predict(refresh, "m"))
    assert re.search(message, "; ".join(errors(warehouse, made, refresh, max_payload_bytes=100)))


@pytest.fixture
def following(warehouse, statements, refresh):
    """Makes two refreshes with the given predictions, the first one active; returns the second and its statements."""

    def predict_twice(served, rows, **gate):
        predict(warehouse, statements, refresh, served)
        later = Refresh(
            "churn", refresh.version + 200, DATASET, active_predictions_table=refresh.predictions_table, cutoff=CUTOFF
        )
        return later, predict(warehouse, statements, later, rows, prediction_gate=gate)

    return predict_twice


def test_the_served_predictions_are_counted(warehouse, following):
    later, made = following([("a", 1), ("b", 2), ("c", 2)], [("a", 1), ("b", 2)])
    measures = measure(warehouse, made, later)
    assert (measures["predictions"], measures["served"]) == (2, 3)


def test_the_share_of_changed_predictions_counts_new_ones_and_gone_ones(warehouse, following):
    later, made = following([("a", 1), ("b", 2), ("c", 2)], [("a", 1), ("b", 3), ("d", 4)], max_changed=0.5)
    assert measure(warehouse, made, later)["changed_share"] == 0.75


def population_stability_index(served, candidates, bins):
    """The textbook's formula, with half a row more in each bin."""
    bounds = np.quantile(served, np.linspace(0, 1, bins + 1), method="inverted_cdf")[1:-1]

    def shares(values):
        counts = np.bincount(np.searchsorted(bounds, values, side="right"), minlength=bins) + 0.5
        return counts / counts.sum()

    expected, actual = shares(served), shares(candidates)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


@pytest.mark.parametrize(("shift", "scale", "moved"), [(0, 1, False), (3, 1, True), (0, 0.5, True), (200, 1, True)])
def test_drift_is_the_population_stability_index(warehouse, following, shift, scale, moved):
    served = [i / 10 for i in range(100)]
    candidates = [round(value * scale + shift, 3) for value in served]
    later, made = following(
        [(str(i), value) for i, value in enumerate(served)],
        [(str(i), value) for i, value in enumerate(candidates)],
        drift={"p": {"max_psi": 0.1, "bins": 5}},
    )
    measured = measure(warehouse, made, later)["psi_p"]
    assert measured == pytest.approx(population_stability_index(served, candidates, bins=5), rel=0.1, abs=0.01)
    assert (measured > 0.1) == moved


def test_predictions_without_a_number_are_a_bin_of_their_own(warehouse, following):
    later, made = following(
        [(str(i), i) for i in range(10)],
        [(str(i), i if i < 5 else "CAST(NULL AS INT64)") for i in range(10)],
        drift={"p": {"max_psi": 0.1}},
    )
    measures = measure(warehouse, made, later)
    assert (measures["numbers_p"], measures["psi_p"] > 0.25) == (5, True)


def store(warehouse, refresh, *payloads):
    """Make the predictions of a refresh from their JSON."""
    rows = ", ".join(f"('{i}', {payload!r})" for i, payload in enumerate(payloads))
    warehouse.query_and_wait(f"CREATE TABLE `{refresh.predictions_table}` (entity_id STRING, payload STRING)")
    warehouse.query_and_wait(f"INSERT INTO `{refresh.predictions_table}` VALUES {rows}")


def test_fields_that_are_null_or_equal_in_all_predictions_are_counted(warehouse, statements, refresh):
    store(
        warehouse,
        refresh,
        '{"a":null,"b":1,"c":null,"d":[],"e":{"f":null},"odd name":1}',
        '{"a":null,"b":2,"c":"x","d":[],"e":{"f":null},"odd name":1}',
    )
    measured = measure(warehouse, statements(), refresh)
    assert measured["fields"] == 5
    assert [measured[f"nulls_{field}"] for field in "abcde"] == [2, 0, 1, 0, 0]
    assert [measured[f"constant_{field}"] for field in "abcde"] == [0, 0, 1, 1, 1]


def test_a_prediction_without_fields_is_one(warehouse, statements, refresh):
    store(warehouse, refresh, "0.5", "0.5")
    measured = measure(warehouse, statements(), refresh)
    assert (measured["fields"], measured["nulls_prediction"], measured["constant_prediction"]) == (1, 0, 1)


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        ('{"p":"NaN"}', 1),  # as BigQuery's TO_JSON_STRING writes it
        ('{"p":[1.5,"-Infinity"]}', 1),
        ('"Infinity"', 1),
        ('{"p":NaN}', 1),
        ("[-Infinity]", 1),
        ('{"NaN":1}', 0),
        ('{"text":"a,NaN,b"}', 0),
        (r'{"text":"\",\"NaN\","}', 0),
        ('{"text":"Infinity pool"}', 0),
        ('{"p":1e308}', 0),
    ],
)
def test_numbers_that_are_not_finite_are_counted(warehouse, statements, refresh, payload, count):
    store(warehouse, refresh, payload, '{"p":0.5}')
    assert measure(warehouse, statements(), refresh)["non_finite"] == count


@pytest.mark.parametrize("undefined", ["NaN", "Infinity", "-Infinity"])
def test_no_bin_of_the_drift_begins_at_an_undefined_number(warehouse, statements, refresh, undefined):
    """BigQuery's RANGE_BUCKET fails if a bound is NaN; the local one does not."""
    later = Refresh(
        "churn", refresh.version + 200, DATASET, active_predictions_table=refresh.predictions_table, cutoff=CUTOFF
    )
    made = statements(prediction_gate={"drift": {"p": {"max_psi": 0.1, "bins": 2}}})
    numbers = [f'{{"p":{i}}}' for i in range(4)]
    store(warehouse, refresh, *numbers, f'{{"p":"{undefined}"}}')
    store(warehouse, later, *numbers, '{"p":null}')
    measures = measure(warehouse, made, later)
    assert (measures["numbers_p"], measures["psi_p"]) == (4, 0)  # an undefined number counts as none


def test_a_field_that_the_active_version_does_not_have_is_not_compared(warehouse, statements, refresh):
    query = "SELECT 'a' AS entity_id, STRUCT(1 AS p) AS prediction"
    warehouse.query_and_wait(statements(query).predict(refresh, "m"))
    later = Refresh(
        "churn", refresh.version + 200, DATASET, active_predictions_table=refresh.predictions_table, cutoff=CUTOFF
    )
    made = statements(query.replace("1 AS p", "1 AS q"), prediction_gate={"drift": {"q": {"max_psi": 0.1}}})
    warehouse.query_and_wait(made.predict(later, "m"))
    measures = measure(warehouse, made, later)
    assert (measures["numbers_q"], measures["psi_q"]) == (1, None)


def test_a_misspelt_field_is_an_error(warehouse, statements, refresh):
    made = predict(
        warehouse, statements, refresh, [("a", 1)], prediction_gate={"drift": {"probabilty": {"max_psi": 0.1}}}
    )
    found = errors(warehouse, made, refresh, drift={"probabilty": {"max_psi": 0.1}})
    assert found == ["prediction_gate.drift.probabilty: the field is a number in none; check its name and predict.sql"]


@pytest.mark.parametrize("compare", [True, False])
def test_the_champion_is_evaluated_where_a_comparison_is_wanted(statements, tmp_path, compare):
    (tmp_path / "evaluate.sql").write_text("SELECT 1")
    champion = Refresh("churn", 9, DATASET, 5, "p.d.champion", cutoff=CUTOFF)
    assert ("p.d.champion" in statements().evaluate(champion, compare=compare)) is compare
    assert "champion" not in statements().evaluate(Refresh("churn", 9, DATASET, cutoff=CUTOFF), compare=compare)


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 1 AS a,\n  {{ project } AS b", "predict.sql:2: unexpected '}'"),
        (
            "SELECT 1 AS a,\n  {{ variables.nope }} AS b",
            "predict.sql:2: .* has no attribute 'nope'",
        ),
        ("{% from 'mine.sql' import one %}\n{{ one() }}", "mine.sql:3: 'nope' is undefined"),
    ],
)
def test_a_mistake_in_a_template_has_a_file_and_a_line(statements, refresh, tmp_path, sql, error):
    (tmp_path / "mine.sql").write_text("{% macro one() %}\n1\n{{ nope }}{% endmacro %}")
    with pytest.raises(StatementError, match=f"^{error}"):
        statements(sql).predict(refresh, "m")


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("Unrecognized name: incme at [7:3]", "predict.sql:5"),
        ('Binder Error: Referenced column "y" not found in FROM clause!', "mine.sql:1"),
        ("Not found: Table demo:shop.people was not found in location US", "predict.sql:7"),
        ("Function not found: rounded", "predict.sql"),
        ("Syntax error at [1:8]", "predict.sql"),  # in what surrounds the file
    ],
)
def test_an_error_in_a_statement_is_found_in_the_pipelines_files(statements, refresh, tmp_path, message, place):
    (tmp_path / "mine.sql").write_text("{% macro one() %}y + 1{% endmacro %}")
    query = (
        "{# A comment. #}\n\n{% from 'mine.sql' import one %}\n"
        "SELECT incme AS entity_id,\n  incme,\n  {{ one() }} AS prediction\nFROM shop.people; -- the end\n"
    )
    made = statements(query)
    sql = made.predict(refresh, "m")
    assert sql.splitlines()[6] == "  incme,"
    assert made.locate("predict.sql", refresh, "m", sql, message) == place
