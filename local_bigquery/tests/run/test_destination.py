"""Query jobs write their destination table."""

import pytest
import requests
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery


@pytest.fixture
def write(client, dataset):
    """Runs a query with the destination `out` in a new dataset; returns the job or raises its error."""

    def run(sql, **settings):
        config = bigquery.QueryJobConfig(destination=f"demo.{dataset}.out", **settings)
        job = client.query(sql, job_config=config)
        job.result()
        return job

    return run


@pytest.fixture
def out(client, dataset):
    """Returns the rows of the destination as tuples."""
    return lambda: [tuple(row) for row in client.list_rows(client.get_table(f"{dataset}.out"))]


def test_a_query_creates_its_destination_and_returns_its_rows(client, write, out, dataset):
    job = write("SELECT x, CAST(x AS STRING) AS s FROM UNNEST([3, 1, 2]) AS x ORDER BY x DESC -- with a comment")
    assert out() == [(3, "3"), (2, "2"), (1, "1")]
    assert [tuple(row) for row in job.result()] == out()
    found = client.get_job(job.job_id)
    assert found.destination == bigquery.TableReference.from_string(f"demo.{dataset}.out")
    assert found.query == job.query
    assert found.statement_type == "SELECT"
    table = client.get_table(f"{dataset}.out")
    assert [(field.name, field.field_type) for field in table.schema] == [("x", "INTEGER"), ("s", "STRING")]
    assert table.num_rows == 3
    assert "_bigquery_ml" not in str(found.to_api_repr())


def test_bigquery_ml_parameters_and_the_default_dataset_go_with_it(client, write, out, rows, dataset, model):
    rows(f"CREATE TABLE {dataset}.ids AS SELECT id FROM UNNEST([1, 2, 3, 4]) AS id")
    write(
        f"SELECT id, predicted_bought FROM ML.PREDICT(MODEL {model}, "
        "(SELECT * FROM shared.customers JOIN ids USING (id) WHERE id <= @last)) ORDER BY id;",
        default_dataset=f"demo.{dataset}",
        query_parameters=[bigquery.ScalarQueryParameter("last", "INT64", 3)],
    )
    assert [row[0] for row in out()] == [1, 2, 3]


def test_positional_parameters_go_with_it_too(write, out):
    parameters = [bigquery.ScalarQueryParameter(None, "INT64", 3), bigquery.ScalarQueryParameter(None, "STRING", "a?")]
    write("SELECT ? AS x, ? AS s", query_parameters=parameters)
    assert out() == [(3, "a?")]


def test_a_destination_with_rows_is_not_written_unless_told_to(write, out):
    write("SELECT 1 AS x")
    with pytest.raises(Conflict, match=r"Already Exists: Table demo:\w+\.out"):
        write("SELECT 2 AS x")
    assert out() == [(1,)]
    write("SELECT 2 AS x", write_disposition="WRITE_APPEND")
    assert out() == [(1,), (2,)]
    write("SELECT 3 AS x", write_disposition="WRITE_TRUNCATE")
    assert out() == [(3,)]


def test_a_destination_refuses_null_within_an_array(client, write, dataset):
    with pytest.raises(BadRequest, match="Array cannot have a null element; error in writing field a"):
        write("SELECT [1, NULL] AS a")
    with pytest.raises(NotFound):
        client.get_table(f"{dataset}.out")


def test_an_empty_destination_may_be_written(client, write, out, dataset):
    client.create_table(
        bigquery.Table(
            f"demo.{dataset}.out", schema=[bigquery.SchemaField("y", "FLOAT64"), bigquery.SchemaField("x", "INT64")]
        )
    )
    write("SELECT 1 AS x, 1.5 AS y")
    assert out() == [(1.5, 1)]


def test_truncating_changes_the_columns(client, write, out, dataset):
    write("SELECT 1 AS x")
    write("SELECT 'a' AS s, [1, 2] AS l, STRUCT(1 AS a) AS r", write_disposition="WRITE_TRUNCATE")
    assert out() == [("a", [1, 2], {"a": 1})]
    assert [field.name for field in client.get_table(f"{dataset}.out").schema] == ["s", "l", "r"]


def test_appended_columns_are_matched_by_name(client, write, out, dataset):
    write("SELECT 1 AS x, 'a' AS s")
    write("SELECT 'b' AS s, 2 AS x", write_disposition="WRITE_APPEND")
    write("SELECT 3 AS x", write_disposition="WRITE_APPEND")
    assert out() == [(1, "a"), (2, "b"), (3, None)]
    with pytest.raises(BadRequest, match=r"Cannot add fields \(field: y\)"):
        write("SELECT 4 AS x, 0.5 AS y", write_disposition="WRITE_APPEND")
    with pytest.raises(BadRequest, match="Field x has changed type from INTEGER to STRING"):
        write("SELECT '5' AS x", write_disposition="WRITE_APPEND")
    assert len(out()) == 3
    write(
        "SELECT 4 AS x, 0.5 AS y",
        write_disposition="WRITE_APPEND",
        schema_update_options=["ALLOW_FIELD_ADDITION"],
    )
    assert out() == [(1, "a", None), (2, "b", None), (3, None, None), (4, None, 0.5)]
    assert [field.name for field in client.get_table(f"{dataset}.out").schema] == ["x", "s", "y"]


def test_a_destination_is_partitioned_and_clustered(client, write, out, dataset):
    write(
        "SELECT DATE '2026-01-01' AS day, 5 AS k",
        time_partitioning=bigquery.TimePartitioning(field="day"),
        clustering_fields=["k"],
    )
    table = client.get_table(f"{dataset}.out")
    assert (table.time_partitioning.field, table.clustering_fields) == ("day", ["k"])
    write("SELECT DATE '2026-01-02' AS day, 'a' AS s", write_disposition="WRITE_TRUNCATE")
    table = client.get_table(f"{dataset}.out")
    assert (table.time_partitioning.field, table.clustering_fields) == ("day", None)
    assert len(out()) == 1


def test_a_destination_that_must_exist_is_not_created(write):
    with pytest.raises(NotFound, match=r"Not found: Table demo:\w+\.out"):
        write("SELECT 1 AS x", create_disposition="CREATE_NEVER")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE TABLE {d}.t AS SELECT 1 AS x", "Cannot set destination table in jobs with CREATE statements"),
        ("INSERT INTO {d}.t SELECT 1", "Cannot set destination table in jobs with INSERT statements"),
        ("SELECT 1; SELECT 2", "destinationTable cannot be set for scripts"),
        ("DECLARE x INT64; SELECT 2", "destinationTable cannot be set for scripts"),
    ],
)
def test_only_a_query_has_a_destination(write, dataset, sql, message):
    with pytest.raises(BadRequest, match=message):
        write(sql.format(d=dataset))


def test_an_error_is_that_of_the_query_as_it_was_sent(client, write, dataset):
    with pytest.raises(BadRequest, match=r"Unrecognized name|not found in FROM clause") as raised:
        write("SELECT absent FROM (SELECT 1 AS x)")
    assert "_bigquery_ml" not in str(raised.value)
    with pytest.raises(BadRequest, match="boom"):
        write("SELECT IF(x > 1, ERROR('boom'), x) FROM UNNEST([1, 2]) AS x")
    assert list(client.list_tables(dataset)) == []
    assert list(client.list_tables("_bigquery_ml")) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schema_update_options": ["ALLOW_FIELD_RELAXATION"]}, "ALLOW_FIELD_RELAXATION"),
        ({"range_partitioning": bigquery.RangePartitioning(bigquery.PartitionRange(0, 9, 1), "x")}, "rangePartit"),
    ],
)
def test_what_a_destination_cannot_have_is_named(write, settings, message):
    with pytest.raises(BadRequest, match=message):
        write("SELECT 1 AS x", write_disposition="WRITE_APPEND", **settings)


def test_a_dry_run_writes_nothing(client, dataset):
    config = bigquery.QueryJobConfig(destination=f"demo.{dataset}.out", dry_run=True)
    assert [field.name for field in client.query("SELECT 1 AS x", job_config=config).schema] == ["x"]
    assert list(client.list_tables(dataset)) == []


def test_a_count_or_a_sum_is_appended_to_a_column_of_whole_numbers(client, write, out, rows, dataset):
    rows(f"CREATE TABLE {dataset}.`out` (n INT64, s INT64)")
    write("SELECT COUNTIF(x > 1) AS n, SUM(x) AS s FROM UNNEST([1, 2]) AS x", write_disposition="WRITE_APPEND")
    write("SELECT COUNTIF(x > 1) AS n, SUM(x) AS s FROM UNNEST([1, 2]) AS x", write_disposition="WRITE_TRUNCATE")
    assert out() == [(1, 3)]
    assert [field.field_type for field in client.get_table(f"{dataset}.out").schema] == ["INTEGER", "INTEGER"]


def test_a_destination_without_a_dataset_is_refused(local_bigquery):
    body = {"query": "SELECT 1", "useLegacySql": False, "destinationTable": {"projectId": "demo", "tableId": "t"}}
    answer = requests.post(f"{local_bigquery.rest}/bigquery/v2/projects/demo/queries", json=body, timeout=60)
    assert (answer.status_code, answer.json()["error"]["message"]) == (
        400,
        "Required parameter is missing: datasetId of destinationTable",
    )
