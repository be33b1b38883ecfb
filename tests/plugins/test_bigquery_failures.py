"""Tasks succeed, in the first try or the next, although BigQuery refuses some of their calls."""

from contextlib import suppress

import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred

from foreserve.operators import RunQuery
from tests.plugins.conftest import DATASET, TaskInstance
from tests.plugins.failing_bigquery import Failure, failing_bigquery

TRANSIENT = [
    Failure(403, "rateLimitExceeded"),
    Failure(429, "rateLimitExceeded"),
    Failure(500, "internalError"),
    Failure(502, "badGateway"),
    Failure(503, "backendError"),
    Failure(503, "backendError", is_late=True),
]
every_failure = pytest.mark.parametrize(
    "failure", TRANSIENT, ids=[f"{f.status}-{f.reason}{'-late' if f.is_late else ''}" for f in TRANSIENT]
)


@pytest.fixture
def failing(bigquery, monkeypatch):
    with failing_bigquery(bigquery) as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        yield server


def run_query(task, refresh, sql, try_number=1):
    """Run a query as a try of a task; return the id of its job."""
    operator, ti = task(RunQuery, refresh, statement=lambda *_: sql, poll_seconds=0.1), TaskInstance(try_number)
    operator.ti = ti
    with suppress(TaskDeferred):
        operator.execute({"ti": ti})
    return ti.xcoms["bigquery_job_detail"]["job_id"]


@every_failure
def test_a_statement_is_run_although_calls_fail(failing, failure, open_version, task, warehouse):
    refresh = open_version()
    table = f"{DATASET}.made_{refresh.version}"
    failing.failures.append(failure)
    sql = f"CREATE OR REPLACE TABLE {table} AS SELECT 1 AS n"
    job = None
    with suppress(AirflowException):
        job = run_query(task, refresh, sql)
    if job is None:  # Airflow's operator does not take over a job that had ended when its call was made again
        assert failure.is_late
        job = run_query(task, refresh, sql, try_number=2)
    warehouse.get_job(job).result()
    assert not failing.failures
    assert [row.n for row in warehouse.query(f"SELECT n FROM {table}").result()] == [1]


def test_a_version_is_opened_although_calls_fail(failing, open_version, registry):
    failing.failures.extend([TRANSIENT[1], TRANSIENT[-1]])
    refresh = open_version()
    assert registry.get(refresh.model).latest == refresh.version
    assert not failing.failures
