"""Jobs run in the background, have states, and fail as BigQuery's do."""

from __future__ import annotations

import uuid

import pytest
import requests
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.cloud import bigquery

# The emulator computes FARM_FINGERPRINT in Python, 0.1 ms each: long enough to be seen running.
SLOW = "SELECT MAX(FARM_FINGERPRINT(CAST(x AS STRING))) AS m FROM UNNEST(GENERATE_ARRAY(1, 6000)) AS x"


@pytest.fixture
def api(local_bigquery):
    """Calls the REST API: api(method, path, ...) returns the status and the body."""

    def call(method, path, **arguments):
        response = requests.request(
            method, f"{local_bigquery.rest}/bigquery/v2/projects/demo/{path}", timeout=60, **arguments
        )
        return response.status_code, response.json()

    return call


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


@pytest.mark.parametrize(
    ("sql", "error", "reason"),
    [
        ("SELECT * FROM shared.absent", NotFound, "notFound"),
        ("SELEC 1", BadRequest, "invalidQuery"),
        ("SELECT IF(FALSE, 'ok', ERROR('too few rows'))", BadRequest, "invalidQuery"),
        ("SELECT * FROM ML.PREDICT(MODEL shared.absent, (SELECT 1 AS x))", NotFound, "notFound"),
        ("CREATE MODEL shared.m OPTIONS(model_type='LINEAR_REG') AS SELECT 1", BadRequest, "invalidQuery"),
        ("SELECT ML.QUANTILE_BUCKETIZE(1, 2) OVER ()", BadRequest, "invalidQuery"),
        (
            "MERGE shared.customers t USING shared.customers s ON FALSE WHEN NOT MATCHED THEN INSERT ROW",
            BadRequest,
            "invalidQuery",
        ),
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


def test_positional_parameters_are_refused_with_bigquery_ml_only(client, customers, model):
    config = bigquery.QueryJobConfig(query_parameters=[bigquery.ScalarQueryParameter(None, "INT64", 3)])
    assert [tuple(row) for row in client.query("SELECT ?", job_config=config).result()] == [(3,)]
    with pytest.raises(BadRequest, match="Positional parameters"):
        client.query(f"SELECT ? FROM ML.PREDICT(MODEL {model}, TABLE {customers})", job_config=config).result()


def test_a_script_runs_its_statements_in_order(rows, dataset):
    assert rows(f"""
        CREATE TABLE {dataset}.t AS SELECT x, 2 * x AS label FROM UNNEST([1, 2, 3]) AS x;
        CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG') AS SELECT * FROM {dataset}.t;
        SELECT ROUND(predicted_label, 2) AS y FROM ML.PREDICT(MODEL {dataset}.m, (SELECT 10 AS x));
    """) == [{"y": 20.0}]


def test_a_dry_run_runs_nothing(client, dataset):
    config = bigquery.QueryJobConfig(dry_run=True)
    job = client.query(
        f"CREATE MODEL {dataset}.m OPTIONS(model_type='LINEAR_REG') AS SELECT 1 AS x, 2 AS label", job_config=config
    )
    assert (job.state, job.total_bytes_processed) == ("DONE", 0)
    assert list(client.list_models(dataset)) == []
    assert client.query("SELECT 1 AS x", job_config=config).schema[0].name == "x"


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
