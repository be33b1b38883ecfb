"""Jobs run in the background, have states, and report errors like BigQuery."""

import io
import uuid

import pytest
import requests
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery

from local_server import SLOW


def insert(api, sql, job_id=None, **query):
    job_id = job_id or f"job-{uuid.uuid4().hex}"
    body = {
        "jobReference": {"projectId": "demo", "jobId": job_id, "location": "US"},
        "configuration": {"query": {"query": sql, "useLegacySql": False, **query}},
    }
    return job_id, *api("POST", "jobs", json=body)


def test_a_job_is_pending_then_running_then_done(api):
    job_id, status, job = insert(api, SLOW)
    assert (status, job["status"]["state"]) == (200, "PENDING")
    assert job["jobReference"] == {"projectId": "demo", "jobId": job_id, "location": "US"}
    assert job["configuration"]["jobType"] == "QUERY"

    _, job = api("GET", f"jobs/{job_id}")
    assert job["status"] == {"state": "RUNNING"}
    assert "endTime" not in job["statistics"]

    _, results = api("GET", f"queries/{job_id}", params={"timeoutMs": 1})
    assert results["jobComplete"] is False
    assert "rows" not in results

    _, results = api("GET", f"queries/{job_id}", params={"timeoutMs": 60_000})
    assert results["jobComplete"] is True
    assert results["totalRows"] == "1"
    assert api("GET", f"queries/{job_id}", params={"timeoutMs": 0})[1] == results

    _, job = api("GET", f"jobs/{job_id}")
    assert job["status"] == {"state": "DONE"}
    assert job["configuration"]["query"]["query"] == SLOW
    assert job["configuration"]["query"]["destinationTable"]
    assert job["statistics"]["query"]["statementType"] == "SELECT"
    assert (
        int(job["statistics"]["creationTime"])
        <= int(job["statistics"]["startTime"])
        <= int(job["statistics"]["endTime"])
    )


def test_jobs_are_answered_while_the_emulator_is_busy(api):
    busy, _, _ = insert(api, SLOW)
    waiting, status, _ = insert(api, "SELECT 1 AS x")
    assert status == 200
    _, job = api("GET", f"jobs/{waiting}")
    assert job["status"]["state"] in ("PENDING", "RUNNING")
    _, listed = api("GET", "jobs", params={"stateFilter": "running"})
    assert busy in [job["jobReference"]["jobId"] for job in listed["jobs"]]
    _, results = api("GET", f"queries/{waiting}", params={"timeoutMs": 60_000})
    assert results["rows"] == [{"f": [{"v": "1"}]}]


def test_the_resource_of_a_bigquery_ml_job_shows_the_statement_as_it_was_sent(api, customers, model):
    sql = f"SELECT COUNT(*) AS n FROM ML.PREDICT(MODEL {model}, TABLE {customers})"
    job_id, _, _ = insert(api, sql, priority="BATCH")
    _, results = api("GET", f"queries/{job_id}", params={"timeoutMs": 60_000})
    assert results["rows"] == [{"f": [{"v": "1200"}]}]
    _, job = api("GET", f"jobs/{job_id}")
    assert job["configuration"]["query"]["query"] == sql
    assert job["configuration"]["query"]["priority"] == "BATCH"
    assert "_bigquery_ml" not in str(job)


@pytest.mark.parametrize("first", ["SELECT 1", "SELECT ERROR('no')", "DROP MODEL IF EXISTS shared.absent"])
def test_a_job_id_can_be_used_once(client, first):
    job_id = f"job-{uuid.uuid4().hex}"
    job = client.query(first, job_id=job_id, job_retry=None)
    assert job.exception() is None or "no" in str(job.exception())
    with pytest.raises(Conflict, match=f"Already Exists: Job demo:US.{job_id}") as raised:
        client.query("SELECT 1", job_id=job_id, job_retry=None)
    assert raised.value.errors[0]["reason"] == "duplicate"


@pytest.mark.parametrize("count", [1, 600_000])
def test_the_job_id_of_an_upload_can_be_used_once_too(client, dataset, count):
    """A small file takes a multipart upload, a large one a resumable upload."""
    job_id = f"job-{uuid.uuid4().hex}"
    table = f"demo.{dataset}.t"
    config = bigquery.LoadJobConfig(schema=[bigquery.SchemaField("x", "INT64")], source_format="NEWLINE_DELIMITED_JSON")

    def load():
        text = b'{"x": 1}\n' * count
        return client.load_table_from_file(io.BytesIO(text), table, size=len(text), job_config=config, job_id=job_id)

    load().result()
    assert client.get_job(job_id).output_rows == count
    with pytest.raises(Conflict, match=f"Already Exists: Job demo:US.{job_id}"):
        load()
    assert client.get_table(table).num_rows == count


@pytest.mark.parametrize(
    ("sql", "error", "reason"),
    [
        ("SELECT * FROM shared.absent", NotFound, "notFound"),
        ("SELEC 1", BadRequest, "invalidQuery"),
        ("SELECT IF(FALSE, 'ok', ERROR('too few rows'))", BadRequest, "invalidQuery"),
        ("SELECT * FROM ML.PREDICT(MODEL shared.absent, (SELECT 1 AS x))", NotFound, "notFound"),
        ("CREATE MODEL shared.m OPTIONS(model_type='LINEAR_REG') AS SELECT 1", BadRequest, "invalidQuery"),
        ("SELECT ML.QUANTILE_BUCKETIZE(1, 2) OVER ()", BadRequest, "invalidQuery"),
    ],
)
def test_a_failed_job_is_done_with_its_error(client, api, customers, sql, error, reason):
    job_id, status, job = insert(api, sql)
    assert (status, job["status"]["state"]) == (200, "PENDING")
    status, body = api("GET", f"queries/{job_id}")
    assert status == error.code
    assert body["error"]["errors"][0]["reason"] == reason
    _, job = api("GET", f"jobs/{job_id}")
    assert job["status"]["state"] == "DONE"
    assert job["status"]["errorResult"]["reason"] == reason
    assert job["status"]["errors"] == [job["status"]["errorResult"]]
    with pytest.raises(error):
        client.query(sql).result()


def test_unknown_jobs_are_not_found(client, api):
    with pytest.raises(NotFound, match=r"Not found: Job demo:US\.nothing"):
        client.get_job("nothing")
    assert api("GET", "queries/nothing")[0] == 404


def test_a_running_job_can_be_cancelled(client, api, dataset, customers, model):
    busy, _, _ = insert(api, SLOW)
    job = client.query(f"CREATE TABLE {dataset}.t AS SELECT * FROM ML.PREDICT(MODEL {model}, TABLE {customers})")
    assert job.cancel()
    api("GET", f"queries/{busy}", params={"timeoutMs": 60_000})
    with pytest.raises(Exception, match="cancelled"):
        job.result()
    assert job.error_result["reason"] == "stopped"
    assert [table.table_id for table in client.list_tables(dataset)] == []
    assert list(client.list_tables("_bigquery_ml")) == []


def test_a_cancelled_statement_ends_and_lets_later_queries_run(client, dataset):
    numbers = "UNNEST(GENERATE_ARRAY(1, 1000000))"
    endless = f"SELECT COUNTIF(MOD(a * b, 7) = 1) AS n FROM {numbers} AS a, {numbers} AS b"
    job = client.query(f"CREATE TABLE {dataset}.t AS {endless}")
    waiting = client.query(f"CREATE TABLE {dataset}.u AS SELECT 1 AS x")
    assert waiting.cancel()
    assert job.cancel()
    with pytest.raises(Exception, match="cancelled"):
        job.result(timeout=60)
    assert [row["x"] for row in client.query("SELECT 1 AS x").result(timeout=60)] == [1]
    assert [table.table_id for table in client.list_tables(dataset)] == []


def test_cancelling_a_job_that_is_done_changes_nothing(client):
    job = client.query("SELECT 1")
    job.result()
    job.cancel()
    assert client.get_job(job.job_id).error_result is None


@pytest.mark.parametrize("method", ["QUERY", "INSERT"])
def test_both_ways_to_query_answer_alike(client, customers, model, method):
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter("last", "INT64", 3)])
    sql = f"SELECT id FROM ML.PREDICT(MODEL {model}, (SELECT * FROM {customers} WHERE id <= @last)) ORDER BY id"
    job = client.query(sql, job_config=config, api_method=method)
    assert [row["id"] for row in job.result()] == [1, 2, 3]
    assert [row["id"] for row in client.query_and_wait(sql, job_config=config)] == [1, 2, 3]


def test_jobs_query_reports_errors_and_slowness(client, api):
    with pytest.raises(BadRequest, match="boom"):
        client.query_and_wait("SELECT ERROR('boom')")
    status, body = api("POST", "queries", json={"query": SLOW, "useLegacySql": False, "timeoutMs": 1})
    assert (status, body["jobComplete"]) == (200, False)
    _, results = api("GET", f"queries/{body['jobReference']['jobId']}", params={"timeoutMs": 60_000})
    assert results["jobComplete"] is True


def test_results_come_in_pages(client):
    result = client.query("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 25)) AS x ORDER BY x").result(page_size=10)
    assert [len(list(page)) for page in result.pages] == [10, 10, 5]


def test_names_are_completed_by_the_default_dataset(client, customers, model):
    config = bigquery.QueryJobConfig(default_dataset="demo.shared")
    job = client.query("SELECT COUNT(*) AS n FROM ML.PREDICT(MODEL buys, TABLE customers)", job_config=config)
    assert [dict(row) for row in job.result()] == [{"n": 1200}]


def test_a_script_runs_its_statements_in_order(rows, dataset):
    assert rows(f"""
        CREATE TABLE {dataset}.t AS SELECT x, 2 * x AS label FROM UNNEST([1, 2, 3]) AS x;
        CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG') AS SELECT * FROM {dataset}.t;
        SELECT ROUND(predicted_label, 2) AS y FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 10 AS x));
    """) == [{"y": 20.0}]


def test_a_job_that_trains_shows_so_while_it_runs_and_its_iterations_when_it_is_done(api, dataset, customers):
    insert(api, SLOW)
    sql = (
        f"CREATE MODEL {dataset}.m OPTIONS(model_type='BOOSTED_TREE_CLASSIFIER', input_label_cols=['bought'], "
        f"max_iterations=4, early_stop=FALSE) AS SELECT * EXCEPT(id) FROM {customers}"
    )
    job_id, _, _ = insert(api, sql)
    seen = []
    while not seen or seen[-1]["status"]["state"] != "DONE":
        seen.append(api("GET", f"jobs/{job_id}")[1])
    told = [job["statistics"]["query"] for job in seen if "query" in job["statistics"]]
    assert told[0] == {"statementType": "CREATE_MODEL"}  # waits for the other job
    query = seen[-1]["statistics"]["query"]
    assert (query["statementType"], query["ddlOperationPerformed"]) == ("CREATE_MODEL", "CREATE")
    training = query["mlStatistics"]
    assert training.pop("iterationResults")[-1]["index"] == 3
    assert training == {"modelType": "BOOSTED_TREE_CLASSIFIER", "trainingType": "SINGLE_TRAINING", "maxIterations": "4"}
    assert training in [job["statistics"].get("query", {}).get("mlStatistics") for job in seen[:-1]]


@pytest.mark.parametrize("method", ["QUERY", "INSERT"])
def test_jobs_keep_their_labels(client, dataset, method):
    config = bigquery.QueryJobConfig(labels={"team": "ads"})
    for sql in ("SELECT 1", f"DROP MODEL IF EXISTS {dataset}.absent"):
        job = client.query(sql, job_config=config, api_method=method)
        job.result()
        assert client.get_job(job.job_id).labels == {"team": "ads"}


def dry_run(api, sql, **query):
    """Check that jobs.insert and jobs.query agree on a dry run; return its `statistics.query`."""
    body = {"query": sql, "useLegacySql": False, **query}
    status, job = api("POST", "jobs", json={"configuration": {"dryRun": True, "query": body}})
    assert status == 200, job
    assert (job["status"], job["statistics"]["totalBytesProcessed"]) == ({"state": "DONE"}, "0")
    status, answer = api("POST", "queries", json={**body, "dryRun": True})
    assert status == 200, answer
    assert (answer["kind"], answer["jobComplete"]) == ("bigquery#queryResponse", True)
    assert answer.get("schema") == job["statistics"]["query"].get("schema")
    return job["statistics"]["query"]


def names(statistics):
    return [field["name"] for field in statistics["schema"]["fields"]]


def test_a_dry_run_shows_the_columns_of_bigquery_ml(api, customers, model):
    predicted = dry_run(api, f"SELECT * FROM ML.PREDICT(MODEL {model}, (SELECT id, * EXCEPT(id) FROM {customers}))")
    assert names(predicted)[:3] == ["predicted_bought", "predicted_bought_probs", "id"]
    assert predicted["schema"]["fields"][1]["mode"] == "REPEATED"
    assert predicted["statementType"] == "SELECT"
    assert predicted["referencedTables"] == [{"projectId": "demo", "datasetId": "shared", "tableId": "customers"}]
    evaluated = dry_run(api, f"SELECT * FROM ML.EVALUATE(MODEL {model}, TABLE {customers})")
    assert names(evaluated) == ["precision", "recall", "accuracy", "f1_score", "log_loss", "roc_auc"]


def test_a_dry_run_of_a_statement_that_makes_a_table_shows_its_columns(api, dataset, customers, model):
    created = dry_run(api, f"CREATE TABLE {dataset}.t AS SELECT 1 AS x, 'a' AS s")
    assert (created["statementType"], names(created)) == ("CREATE_TABLE_AS_SELECT", ["x", "s"])
    sql = f"CREATE TABLE {dataset}.t AS SELECT predicted_bought FROM ML.PREDICT(MODEL {model}, TABLE {customers})"
    assert names(dry_run(api, sql)) == ["predicted_bought"]


def test_a_dry_run_changes_nothing(client, api, rows, dataset, customers):
    rows(f"CREATE TABLE {dataset}.t AS SELECT 1 AS x")
    create = (
        f"MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG', input_label_cols=['bought']) AS SELECT * FROM {customers}"
    )
    assert dry_run(api, f"CREATE {create}")["statementType"] == "CREATE_MODEL"
    assert dry_run(api, f"CREATE {create}")["ddlOperationPerformed"] == "CREATE"
    assert dry_run(api, f"DROP MODEL IF EXISTS {dataset}.m")["ddlOperationPerformed"] == "SKIP"
    assert dry_run(api, f"DROP TABLE {dataset}.t")["statementType"] == "DROP_TABLE"
    assert dry_run(api, f"INSERT INTO {dataset}.t SELECT 2 AS x")["statementType"] == "INSERT"
    assert dry_run(api, f"DROP TABLE {dataset}.t; DROP SCHEMA {dataset}")["statementType"] == "SCRIPT"
    assert dry_run(api, f"CREATE TEMP TABLE u AS SELECT 1 AS x; DELETE FROM {dataset}.t WHERE TRUE")
    assert rows(f"SELECT * FROM {dataset}.t") == [{"x": 1}]
    assert list(client.list_models(dataset)) == []
    assert list(client.list_tables("_bigquery_ml")) == []
    rows(f"CREATE {create}")
    assert dry_run(api, f"CREATE OR REPLACE {create}")["ddlOperationPerformed"] == "REPLACE"
    assert dry_run(api, f"DROP MODEL {dataset}.m")["ddlOperationPerformed"] == "DROP"
    assert [found.model_id for found in client.list_models(dataset)] == ["m"]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT absent FROM shared.customers", BadRequest),
        ("SELECT * FROM shared.absent", NotFound),
        ("CREATE TABLE shared.t AS SELECT absent FROM shared.customers", BadRequest),
        ("SELECT absent FROM ML.PREDICT(MODEL shared.buys, TABLE shared.customers)", BadRequest),
        ("SELECT * FROM ML.PREDICT(MODEL shared.buys, (SELECT 1 AS x))", BadRequest),
        ("SELECT * FROM ML.PREDICT(MODEL shared.absent, TABLE shared.customers)", NotFound),
        ("CREATE MODEL shared.buys OPTIONS(model_type='LINEAR_REG') AS SELECT 1 AS x, 1 AS label", Conflict),
        ("CREATE MODEL absent.m OPTIONS(model_type='LINEAR_REG') AS SELECT 1 AS x, 1 AS label", NotFound),
        ("CREATE MODEL shared.m OPTIONS(model_type='LINEAR_REG', depth=3) AS SELECT 1 AS x, 1 AS label", BadRequest),
        ("CREATE MODEL shared.m OPTIONS(model_type='LINEAR_REG') AS SELECT absent FROM shared.customers", BadRequest),
        ("DROP MODEL shared.absent", NotFound),
    ],
)
def test_a_dry_run_fails_where_the_job_would(api, model, sql, error):
    body = {"query": sql, "useLegacySql": False}
    for path, dry in (
        ("jobs", {"configuration": {"dryRun": True, "query": body}}),
        ("queries", {**body, "dryRun": True}),
    ):
        assert api("POST", path, json=dry)[0] == error.code, path


def test_a_dry_run_does_not_use_up_its_job_id(client):
    job_id = f"job-{uuid.uuid4().hex}"
    client.query("SELECT 1 AS x", job_id=job_id, job_config=bigquery.QueryJobConfig(dry_run=True), job_retry=None)
    job = client.query("SELECT 2 AS x", job_id=job_id, job_retry=None)
    assert [row["x"] for row in job.result()] == [2]


def test_jobs_are_listed_newest_first_in_pages(client):
    ids = [client.query(f"SELECT {i}").job_id for i in range(3)]
    listed = [job.job_id for job in client.list_jobs(max_results=3, page_size=2)]
    assert set(listed) == set(ids)
    assert not [job_id for job_id in listed if job_id.startswith("bigquery_ml_")]


def test_a_finished_job_can_be_deleted(client):
    job = client.query("SELECT 1")
    job.result()
    client.delete_job_metadata(job.job_id, location="US")
    with pytest.raises(NotFound):
        client.get_job(job.job_id)


def test_a_body_that_is_not_json_is_a_bad_request(local_bigquery):
    response = requests.post(f"{local_bigquery.rest}/bigquery/v2/projects/demo/jobs", data=b"{", timeout=10)
    assert response.status_code == 400
    assert "not JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("POST", "jobs", {"configuration": "x"}, "configuration"),
        ("POST", "jobs", {"configuration": {"query": "SELECT 1"}}, "query"),
        ("POST", "jobs", {"jobReference": "j", "configuration": {"query": {"query": "SELECT 1"}}}, "jobReference"),
        ("POST", "queries", {"query": "SELECT 1", "useLegacySql": False, "timeoutMs": "x"}, "timeoutMs"),
        ("GET", "jobs?maxResults=-1", None, "maxResults"),
        ("PATCH", "datasets/d/models/m", {"labels": "x"}, "labels"),
    ],
)
def test_a_field_of_a_wrong_kind_is_named(api, method, path, body, named):
    status, answer = api(method, path, json=body)
    assert (status, answer["error"]["errors"][0]["reason"]) == (400, "invalid")
    assert named in answer["error"]["message"]
