"""Other requests reach the emulator unchanged and one at a time."""

import io
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, MethodNotImplemented, NotFound
from google.cloud import bigquery


def test_datasets_and_tables_can_be_created_listed_and_deleted(client, dataset):
    schema = [bigquery.SchemaField("x", "INT64"), bigquery.SchemaField("y", "STRING")]
    client.create_table(bigquery.Table(f"demo.{dataset}.t", schema=schema))
    assert client.get_table(f"{dataset}.t").schema == schema
    assert client.insert_rows_json(f"{dataset}.t", [{"x": 1, "y": "a"}]) == []
    assert [dict(row) for row in client.list_rows(f"{dataset}.t")] == [{"x": 1, "y": "a"}]
    assert dataset in [item.dataset_id for item in client.list_datasets()]
    client.delete_table(f"{dataset}.t")
    with pytest.raises(NotFound):
        client.get_table(f"{dataset}.t")


def test_files_are_loaded_in_both_ways_of_uploading(client, dataset):
    table = f"demo.{dataset}.t"
    schema = [bigquery.SchemaField("x", "INTEGER")]
    client.load_table_from_json([{"x": 1}], table, job_config=bigquery.LoadJobConfig(schema=schema)).result()
    buffer = io.BytesIO()
    pq.write_table(pa.table({"x": pa.array([2, 3], pa.int64())}), buffer)
    config = bigquery.LoadJobConfig(schema=schema, source_format="PARQUET", write_disposition="WRITE_APPEND")
    job = client.load_table_from_file(buffer, table, rewind=True, job_config=config)
    job.result()
    assert sorted(row["x"] for row in client.list_rows(table)) == [1, 2, 3]
    assert client.get_job(job.job_id).job_type == "load"


ARRAYS = [
    bigquery.SchemaField("id", "INTEGER"),
    bigquery.SchemaField("xs", "INTEGER", mode="REPEATED"),
    bigquery.SchemaField(
        "s", "RECORD", mode="REPEATED", fields=[bigquery.SchemaField("ys", "STRING", mode="REPEATED")]
    ),
]
FULL = {"id": 1, "xs": [1, 2], "s": [{"ys": ["a"]}]}


@pytest.fixture(params=["NEWLINE_DELIMITED_JSON", "PARQUET"])
def load(client, dataset, request):
    """Loads rows from a file of each format into the table `t` with the columns `ARRAYS`; raises the job's error."""

    def run(*rows):
        config = bigquery.LoadJobConfig(schema=ARRAYS, source_format=request.param, write_disposition="WRITE_APPEND")
        if request.param == "PARQUET":
            buffer = io.BytesIO()
            kinds = [("id", pa.int64()), ("xs", pa.list_(pa.int64()))]
            kinds.append(("s", pa.list_(pa.struct([("ys", pa.list_(pa.string()))]))))
            pq.write_table(pa.Table.from_pylist(rows, pa.schema(kinds)), buffer)
            client.load_table_from_file(buffer, f"demo.{dataset}.t", rewind=True, job_config=config).result()
        else:
            client.load_table_from_json(rows, f"demo.{dataset}.t", job_config=config).result()

    return run


@pytest.mark.parametrize(
    ("row", "field"), [({**FULL, "xs": [1, None]}, "xs"), ({**FULL, "s": [{"ys": ["a"]}, {"ys": [None]}]}, "s")]
)
def test_a_load_job_refuses_null_within_an_array(client, dataset, load, row, field):
    load(FULL)
    with pytest.raises(BadRequest, match=f"Array cannot have a null element; error in writing field {field}"):
        load(FULL, row)
    assert [dict(row) for row in client.list_rows(f"{dataset}.t")] == [FULL]


def test_a_load_job_stores_a_null_array_as_an_empty_one(local_bigquery, dataset, load):
    load({**FULL, "xs": None})
    assert local_bigquery.read(f"{dataset}.t").to_pylist() == [{**FULL, "xs": []}]


def test_insert_all_refuses_rows_with_null_in_arrays(client, dataset):
    client.create_table(bigquery.Table(f"demo.{dataset}.t", schema=ARRAYS))
    rows = [{"xs": [1, None]}, FULL, {"xs": None}, {"s": [{"ys": ["a", None]}]}]
    refused = [(0, "invalid", "xs"), (2, "invalid", "xs"), (3, "invalid", "s.ys")]

    def insert(**options):
        found = client.insert_rows_json(f"{dataset}.t", rows, **options)
        return [(row["index"], row["errors"][0]["reason"], row["errors"][0]["location"]) for row in found]

    assert insert() == sorted([*refused, (1, "stopped", "")])
    assert list(client.list_rows(f"{dataset}.t")) == []
    assert insert(skip_invalid_rows=True) == refused
    assert [dict(row) for row in client.list_rows(f"{dataset}.t")] == [FULL]


def test_copy_and_extract_jobs_run_in_the_background_too(client, rows, dataset, tmp_path):
    rows(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    client.copy_table(f"demo.{dataset}.t", f"demo.{dataset}.u").result()
    assert rows(f"SELECT * FROM {dataset}.u") == [{"x": 1}]
    config = bigquery.ExtractJobConfig(destination_format="PARQUET")
    client.extract_table(f"demo.{dataset}.u", f"file://{tmp_path}/u.parquet", job_config=config).result()
    assert pq.read_table(tmp_path / "u.parquet").to_pylist() == [{"x": 1}]
    with pytest.raises(NotFound):
        client.copy_table(f"demo.{dataset}.absent", f"demo.{dataset}.v").result()


def test_tables_are_read_through_the_storage_api(local_bigquery, rows, dataset):
    rows(f"CREATE TABLE {dataset}.t AS SELECT CAST(x AS STRING) AS id FROM UNNEST(GENERATE_ARRAY(1, 70000)) AS x")
    table = local_bigquery.read(f"{dataset}.t")
    assert table.num_rows == 70_000
    assert set(table["id"].to_pylist()) == {str(x) for x in range(1, 70_001)}


def test_a_read_resumes_at_its_offset(local_bigquery, rows, dataset):
    """The emulator ignores the offset. It sends 65,536 rows a message."""
    rows(f"CREATE TABLE {dataset}.t AS SELECT CAST(x AS STRING) AS id FROM UNNEST(GENERATE_ARRAY(1, 70000)) AS x")
    whole = local_bigquery.read(f"{dataset}.t")
    assert local_bigquery.read(f"{dataset}.t", 65_536) == whole.slice(65_536)
    with pytest.raises(MethodNotImplemented, match="the offset is not at the end of a message"):
        local_bigquery.read(f"{dataset}.t", 65_000)


def test_an_absent_table_is_not_found_through_the_storage_api(local_bigquery, dataset):
    with pytest.raises(NotFound):
        local_bigquery.read(f"{dataset}.absent")


def test_concurrent_calls_get_their_own_answers(local_bigquery, rows, dataset):
    """The emulator mixes up results of concurrent queries, tabledata.list and Storage API calls."""
    for value in range(3):
        rows(f"CREATE TABLE {dataset}.t{value} AS SELECT {value} AS v{value}")

    columns = [bigquery.SchemaField("v1", "INT64")]

    def query(client):
        return [dict(row) for row in client.query(f"SELECT v0 FROM {dataset}.t0").result()] == [{"v0": 0}]

    def list_rows(client):
        return [tuple(row) for row in client.list_rows(f"{dataset}.t1", selected_fields=columns)] == [(1,)]

    def read(_client):
        return local_bigquery.read(f"{dataset}.t2").to_pylist() == [{"v2": 2}]

    def repeat(call):
        client = local_bigquery.client()
        return sum(call(client) for _ in range(60))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(repeat, (query, list_rows, list_rows, read))) == [60] * 4


def test_what_the_emulator_cannot_do_does_not_spoil_the_next_call(rows):
    """The emulator closes the connection after a response with status 500 or more."""
    for _ in range(5):
        with pytest.raises(BadRequest, match="The emulator cannot do this"):
            rows("SELECT STRUCT(1, 2) AS s UNION ALL SELECT STRUCT(3, 4)")
        assert rows("SELECT 1 AS x") == [{"x": 1}]
