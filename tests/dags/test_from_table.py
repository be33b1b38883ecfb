import json

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from foreserve.refresh import Refresh
from local_stack.sample_data import load_csv
from refresh_factory.check.bigquery import RunningBigQuery
from refresh_factory.check.rules import check_pipelines
from refresh_factory.check.schemas import write_schemas
from refresh_factory.from_table import TableError, files_from_table
from refresh_factory.new import new_pipeline
from refresh_factory.pipeline import load_pipeline
from refresh_factory.statements import Statements

TABLE = "my_lab.people"
LABELS = {
    "default": "IF(n + noise > 260, 'Yes', 'No')",  # a reserved word, as a column may be called
    "insured": "n + noise > 200",
    "stars": "CAST(FLOOR((n + noise) / 140) AS INT64)",
    "spend": "n * 2.5 + noise",
    "visits": "n + noise",
}


@pytest.fixture(scope="module")
def client(bigquery):
    """A client of a BigQuery with a table of 400 people."""
    client = bq.Client("demo", credentials=AnonymousCredentials())
    client.create_dataset("my_lab", exists_ok=True)
    client.create_dataset("foreserve", exists_ok=True)
    columns = ", ".join(f"{sql} AS `{name}`" for name, sql in LABELS.items())
    client.query_and_wait(
        f"""
        CREATE OR REPLACE TABLE {TABLE} AS
        SELECT CONCAT('p', CAST(n AS STRING)) AS person_id, n AS income, MOD(n, 7) AS age,
          IF(MOD(n, 3) = 0, 'north', 'south') AS region, CONCAT('mail', CAST(n AS STRING)) AS email,
          MOD(n, 2) = 0 AS married, DATE '2026-01-01' AS since, [n] AS lists, {columns}
        FROM (SELECT n, MOD(n * 37, 41) AS noise FROM UNNEST(GENERATE_ARRAY(1, 400)) AS n)
        """
    )
    return client


@pytest.mark.parametrize(
    ("label", "model_type", "fields", "explain"),
    [
        ("default", "LOGISTIC_REG", {"probability"}, 2),
        ("insured", "LOGISTIC_REG", {"probability"}, 0),
        ("stars", "LOGISTIC_REG", {"predicted", "probability"}, 2),
        ("spend", "LINEAR_REG", {"value"}, 2),
        ("visits", "LINEAR_REG", {"value"}, 0),
    ],
)
def test_the_pipeline_of_a_table_passes_the_checks_and_runs(client, tmp_path, label, model_type, fields, explain):
    files = files_from_table(client, "people", TABLE, "person_id", label, explain)
    folder = new_pipeline("people", tmp_path, files)
    tables, problems = RunningBigQuery("local").schemas(folder, load_pipeline(folder))
    write_schemas(folder, tables)
    assert problems + check_pipelines([folder]) == []
    statements = Statements(folder, load_pipeline(folder), "demo")
    refresh = Refresh("people", sum(label.encode()), "demo.foreserve", cutoff="2026-01-01T00:00:00+00:00")
    for sql in (
        statements.train(refresh),
        statements.evaluate(refresh, compare=False),
        statements.predict(refresh, refresh.candidate_model),
    ):
        client.query_and_wait(sql)
    assert client.get_model(refresh.candidate_model).model_type in {model_type, model_type.replace("REG", "REGRESSION")}
    rows = list(client.query_and_wait(f"SELECT entity_id, payload FROM `{refresh.predictions_table}`"))
    assert len(rows) == 400
    predictions = {row.entity_id: json.loads(row.payload) for row in rows}
    assert all(set(prediction) == fields | ({"because"} if explain else set()) for prediction in predictions.values())
    assert None not in predictions["p7"].values()
    if label in {"default", "insured"}:
        assert predictions["p400"]["probability"] > 0.9
        assert predictions["p1"]["probability"] < 0.1
    if explain:
        assert all(len(prediction["because"]) == explain for prediction in predictions.values())
        least, most = (predictions[person]["because"][0] for person in ("p1", "p400"))
        assert label == "stars" or least["adds"] < 0 < most["adds"]  # stars: of the predicted class


def test_columns_that_are_no_features_are_left_out_and_named(client):
    rows = files_from_table(client, "people", TABLE, "person_id", "default")["rows.sql"]
    assert "email: 400 different texts in 400 rows" in rows
    assert "since: DATE" in rows
    assert "lists: ARRAY" in rows
    assert "  `since`" not in rows


@pytest.mark.parametrize(
    ("table", "id_column", "label", "message"),
    [
        ("people", "person_id", "spend", "give it as DATASET.TABLE"),
        ("my_lab.peoples", "person_id", "spend", "cannot be read"),
        (TABLE, "person", "spend", "ID='person': my_lab.people has no such column; it has person_id, income"),
        (TABLE, "person_id", "spent", "LABEL='spent': my_lab.people has no such column"),
        (TABLE, "age", "spend", "400 rows, 7 different ids"),
        (TABLE, "person_id", "since", "a label is a number, a text or a BOOL"),
        (TABLE, "person_id", "email", "has 400 different values; it needs 2 to 50"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_way_out(client, table, id_column, label, message):
    with pytest.raises(TableError, match=message):
        files_from_table(client, "people", table, id_column, label)


def test_a_csv_file_replaces_a_table(client, tmp_path):
    file = tmp_path / "people.csv"
    for names in (("Ann", "Bo"), ("Cy",)):
        file.write_text("person,age,member\n" + "".join(f"{name},40,true\n" for name in names))
        table = load_csv(client, file, "my_files.people")
        assert table.num_rows == len(names)
    assert [column.field_type for column in table.schema] == ["STRING", "INTEGER", "BOOLEAN"]
    with pytest.raises(ValueError, match=r"TABLE='people': give it as DATASET\.TABLE"):
        load_csv(client, file, "people")
