"""Recorded schemas of tables, and dry runs, on the local BigQuery."""

import shutil

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud.bigquery import SchemaField

from local_bigquery.analyzer import Type
from local_stack import sample_data
from refresh_factory.check.bigquery import RunningBigQuery, _type
from refresh_factory.check.rules import check_pipelines
from refresh_factory.check.schemas import read_schemas, write_schemas
from refresh_factory.new import new_pipeline
from refresh_factory.pipeline import PIPELINES, load_pipeline


@pytest.fixture(scope="module")
def running(bigquery):
    client = sample_data.warehouse()
    sample_data.first_purchases(client)
    sample_data.load_groceries(client)
    return RunningBigQuery("local")


@pytest.fixture
def folder(tmp_path):
    return new_pipeline("churn", tmp_path)


def edit(folder, name, old, new):
    file = folder / name
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


@pytest.mark.parametrize("name", ["repeat_purchase", "expected_spend", "customer_segment", "next_products", "churn"])
def test_what_the_examples_ship_is_what_a_recording_writes(running, folder, tmp_path, name):
    shipped = folder if name == "churn" else PIPELINES / name
    made = shutil.copytree(shipped, tmp_path / "made" / name, dirs_exist_ok=True)
    tables, problems = running.schemas(made, load_pipeline(made))
    assert problems == []
    write_schemas(made, tables)
    assert (made / "schemas.yaml").read_text() == (shipped / "schemas.yaml").read_text()


def test_tables_are_recorded_as_the_checks_name_them(running, folder, monkeypatch):
    client = running._client
    for dataset in ("features", "other"):
        client.create_dataset(dataset, exists_ok=True)
        client.query_and_wait(f"CREATE OR REPLACE TABLE {dataset}.t AS SELECT 1 AS in_{dataset}, [1] AS numbers")
    monkeypatch.setenv("FORESERVE_DATASET", "features")
    (folder / "evaluate.sql").write_text(
        "SELECT a.in_features, b.in_other, c.in_other + n AS more "
        "FROM {{ dataset }}.t AS a, demo.other.t AS b, other.t AS c, c.numbers AS n"
    )
    tables, problems = running.schemas(folder, load_pipeline(folder))
    assert (tables.keys(), problems) == ({"foreserve.t", "demo.other.t", "other.t", "shop.transactions"}, [])
    write_schemas(folder, tables)
    assert {problem.message.split(",")[0] for problem in check_pipelines([folder])} == {
        "the query has no spends_enough",
        "the query has no recency_weeks",
    }


def test_a_table_that_is_not_there_is_named_with_its_line(running, folder):
    edit(folder, "evaluate.sql", "{{ labelled(", "SELECT * FROM shop.nothing;\n{# {{ labelled(")
    edit(folder, "evaluate.sql", "weeks) }}", "weeks) }} #}")
    _, (problem,) = running.schemas(folder, load_pipeline(folder))
    assert str(problem).startswith(f"{folder}/evaluate.sql:3: ")
    assert "shop.nothing" in problem.message


def test_a_dry_run_names_the_line_of_the_template(running, folder):
    assert running.dry_run(folder, load_pipeline(folder)) == []
    edit(folder, "labelled.sql", "  frequency,", "  frequncy,")
    problems = running.dry_run(folder, load_pipeline(folder))
    assert {problem.message.startswith("BigQuery: ") for problem in problems} == {True}


def test_googles_position_is_traced_through_macros(running, folder, monkeypatch):
    """The message is of the form that BigQuery's are in."""

    def refuse(sql, job_config):
        line = next(number for number, text in enumerate(sql.splitlines(), 1) if "frequency," in text)
        raise BadRequest(f"Unrecognized name: frequency at [{line}:3]")

    monkeypatch.setattr(running._client, "query", refuse)
    problem, _ = running.dry_run(folder, load_pipeline(folder))
    assert str(problem) == f"{folder}/labelled.sql:7: BigQuery: Unrecognized name: frequency"


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        (SchemaField("x", "INTEGER"), "INT64"),
        (SchemaField("x", "BIGNUMERIC", "REPEATED"), "ARRAY<BIGNUMERIC>"),
        (
            SchemaField("x", "RECORD", "REPEATED", fields=[SchemaField("a", "FLOAT"), SchemaField("b", "BOOLEAN")]),
            "ARRAY<STRUCT<a FLOAT64, b BOOL>>",
        ),
        (SchemaField("x", "RANGE", range_element_type="DATE"), "RANGE<DATE>"),
    ],
)
def test_types_are_recorded_as_sql_writes_them_and_read_again(tmp_path, field, kind):
    assert _type(field) == kind
    write_schemas(tmp_path, {"d.t": {"x": kind}})
    schemas = read_schemas(tmp_path, "p")
    assert (str(schemas.tables["p.d.t"]["x"]), schemas.problems) == (kind, [])


def test_mistakes_in_the_recorded_schemas_are_named(tmp_path):
    file = tmp_path / "schemas.yaml"
    file.write_text("d.t:\n  x: INT46\n  y: DATE\nt:\n  x: INT64\n")
    schemas = read_schemas(tmp_path, "p")
    assert [str(problem) for problem in schemas.problems] == [
        f"{file}:2: x: INT46: Type not found: INT46",
        f"{file}:4: t: expected DATASET.TABLE with columns and types",
    ]
    assert schemas.tables == {"p.d.t": {"y": Type("DATE")}}
    file.write_text("d.t: [")
    assert str(read_schemas(tmp_path, "p").problems[0]).startswith(f"{file}:1: not YAML: ")
    file.unlink()
    assert read_schemas(tmp_path, "p") is None
