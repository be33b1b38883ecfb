"""BigQuery jobs, as tasks start, find and cancel them."""

from contextlib import suppress
from dataclasses import replace

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from google.api_core.exceptions import GoogleAPICallError

from foreserve.operators import AbortVersion, RunQuery
from foreserve.operators.smoke_test import sample_query
from foreserve.refresh import StatementError
from local_bigquery.analyzer import parse
from tests.plugins.conftest import TaskInstance

ENDLESS = "LOOP ASSERT TRUE; END LOOP"


@pytest.fixture
def refresh(open_version):
    return open_version()


@pytest.fixture
def attempt(refresh, task, warehouse):
    """Runs a query as one try of a task, until it ends or waits in the triggerer; returns the task and its job."""
    jobs = []

    def run(sql, try_number=1):
        operator, ti = task(RunQuery, refresh, statement=lambda *_: sql, poll_seconds=0.1), TaskInstance(try_number)
        operator.ti = ti
        with suppress(TaskDeferred):
            operator.execute({"ti": ti})
        jobs.append(warehouse.get_job(ti.xcoms["bigquery_job_detail"]["job_id"]))
        return operator, jobs[-1]

    yield run
    for job in jobs:
        job.cancel()


def test_a_job_tells_model_version_task_and_try(attempt, refresh):
    _, job = attempt(ENDLESS, try_number=2)
    assert job.job_id.startswith(f"foreserve_{refresh.model}_{refresh.version}_runquery_2_")
    assert job.labels.items() >= {"model": refresh.model, "version": str(refresh.version)}.items()
    assert job.labels["airflow-task"] == "runquery"


def test_every_job_has_labels_and_limits(cloud, refresh, context):
    limited = replace(cloud, labels={"team": "shop"}, maximum_bytes_billed=10**9, job_timeout_minutes=5)
    operator = RunQuery(task_id="train", cloud=limited, statement=lambda *_: "SELECT 1", poll_seconds=0.1)
    given = context()
    given["ti"].xcoms["open_version"] = refresh.to_xcom()
    operator.render_template_fields(given)
    assert operator.configuration == {
        "query": {"query": "SELECT 1", "useLegacySql": False, "maximumBytesBilled": "1000000000"},
        "jobTimeoutMs": "300000",
        "labels": {"team": "shop", "model": refresh.model, "version": str(refresh.version)},
    }
    client = limited.bigquery()
    job = client.query("SELECT 1")
    assert (job.labels, job.maximum_bytes_billed) == ({"team": "shop"}, 10**9)
    assert client.default_query_job_config.to_api_repr()["jobTimeoutMs"] == "300000"


@pytest.mark.parametrize(("table_bytes", "percent"), [(0, None), (10 * 2**30, None), (2**40, "0.976562")])
def test_a_sample_reads_some_blocks_of_a_large_table_only(table_bytes, percent):
    sql = sample_query("p.d.t", 500, 10**9, table_bytes)
    assert [statement.kind for statement in parse(sql)] == ["QUERY"]
    assert (f"TABLESAMPLE SYSTEM ({percent} PERCENT)" in sql) if percent else ("TABLESAMPLE" not in sql)


def test_nothing_of_ours_runs_in_the_triggerer(refresh, task):
    operator = task(RunQuery, refresh, statement=lambda *_: ENDLESS, poll_seconds=0.1)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({"ti": TaskInstance()})
    operator.on_kill()
    path, arguments = deferred.value.trigger.serialize()
    assert path == "airflow.providers.google.cloud.triggers.bigquery.BigQueryInsertJobTrigger"
    assert arguments["cancel_on_kill"] is True


def test_a_task_that_is_tried_again_waits_for_the_job_that_still_runs(attempt):
    _, first = attempt(ENDLESS)
    assert first.state == "RUNNING"
    for try_number in (2, 3):
        _, again = attempt(ENDLESS, try_number)
        assert again.job_id == first.job_id


def test_a_task_that_is_tried_again_after_its_job_ended_starts_another(attempt):
    _, first = attempt("SELECT 1")
    first.result()
    _, second = attempt("SELECT 1", try_number=2)
    assert second.job_id != first.job_id


def test_the_same_try_finds_its_own_job(attempt):
    _, first = attempt(ENDLESS)
    _, again = attempt(ENDLESS)
    assert again.job_id == first.job_id


def test_airflow_shows_the_sql_which_is_not_rendered_as_a_template(refresh, task):
    """The choices of a trigger form are in the context of templates, so a second rendering could inject SQL."""
    sql = "SELECT '{{ params.reason }}'"
    operator = task(RunQuery, refresh, statement=lambda *_: sql, poll_seconds=0.1)
    assert "configuration" in operator.template_fields
    assert operator.configuration["query"]["query"] == sql


def test_killing_the_task_cancels_the_job(attempt):
    operator, job = attempt(ENDLESS)
    operator.on_kill()
    with pytest.raises(Exception, match="cancelled"):
        job.result()


def test_aborting_the_version_cancels_jobs_that_still_run_though_their_tasks_died(attempt, context, refresh, task):
    _, job = attempt(ENDLESS)
    task(AbortVersion, refresh, dataflow_jobs=[], region="").execute(context())
    with pytest.raises(Exception, match="cancelled"):
        job.result()


def test_a_job_that_still_runs_is_waited_for_again_when_the_trigger_got_no_answer(attempt):
    operator, job = attempt(ENDLESS)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute_complete({"ti": operator.ti}, {"status": "error", "message": "503, message='Unavailable'"})
    assert deferred.value.trigger.job_id == job.job_id


def test_the_triggers_event_ends_the_task(attempt):
    operator, job = attempt("SELECT 1")
    job.result()
    assert operator.execute_complete({}, {"status": "success", "job_id": job.job_id, "message": ""}) == job.job_id
    with pytest.raises(AirflowException, match="out of slots") as caught:
        operator.execute_complete({"ti": TaskInstance()}, {"status": "error", "message": "out of slots"})
    assert not isinstance(caught.value, AirflowFailException)


def failed_event(job):
    """The event of the provider's trigger for a job that failed. It does not have the job's id."""
    with suppress(GoogleAPICallError):
        job.result()
    return {"status": "error", "message": str(job.error_result)}


@pytest.mark.parametrize(
    "sql", ["SELECT no_such_column FROM UNNEST([1]) AS x", "SELECT * FROM operators.no_such_table"]
)
def test_a_statement_that_would_fail_again_is_not_tried_again(attempt, sql):
    operator, job = attempt(sql)
    with pytest.raises(AirflowFailException, match=rf"no_such(.|\n)*BigQuery job {job.job_id}$"):
        operator.execute_complete({"ti": operator.ti}, failed_event(job))


def test_the_place_and_the_reason_of_a_failed_statement_come_first(refresh, task, warehouse, caplog):
    def locate(found, _, sql, message):
        return f"predict.sql:{sql.count('SELECT')}" if found == refresh and "no_such_table" in message else "?"

    sql = "SELECT * FROM operators.no_such_table"
    operator, ti = task(RunQuery, refresh, statement=lambda *_: sql, locate=locate, poll_seconds=0.1), TaskInstance()
    operator.ti = ti
    with suppress(TaskDeferred):
        operator.execute({"ti": ti})
    event = failed_event(warehouse.get_job(ti.xcoms["bigquery_job_detail"]["job_id"]))
    ti.xcoms["bigquery_job_detail"] = "https://console.cloud.google.com/bigquery"  # as Airflow 3 does
    with pytest.raises(AirflowFailException, match=r"^predict.sql:1: .*no_such_table"):
        operator.resume_execution("execute_complete", {"event": event}, {"ti": ti})
    assert [record.message.partition(":1: ")[0] for record in caplog.records] == ["predict.sql"]


def test_a_mistake_in_a_template_fails_the_task_at_once_and_not_while_it_is_rendered(refresh, task, caplog):
    def statement(*_):
        raise StatementError("train.sql:3: unexpected '}'")

    operator = task(RunQuery, refresh, statement=statement, poll_seconds=0.1)
    with pytest.raises(AirflowFailException, match=r"^train.sql:3: unexpected '}'$"):
        operator.execute({"ti": TaskInstance()})
    assert caplog.messages == ["train.sql:3: unexpected '}'"]


def test_an_error_that_may_pass_while_a_statement_is_made_is_tried_again(refresh, task):
    def statement(*_):
        raise ConnectionError("no answer")

    operator = task(RunQuery, refresh, statement=statement, poll_seconds=0.1)
    with pytest.raises(ConnectionError, match="no answer"):
        operator.execute({"ti": TaskInstance()})


def test_a_cleared_task_does_not_end_as_the_job_that_clearing_cancelled(attempt, warehouse):
    _, first = attempt(ENDLESS)
    cleared, same = attempt(ENDLESS, try_number=2)  # the cancelled job still runs
    assert same.job_id == first.job_id
    first.cancel()
    with pytest.raises(TaskDeferred) as deferred:
        cleared.execute_complete({"ti": cleared.ti}, failed_event(first))
    second = warehouse.get_job(deferred.value.trigger.job_id)
    second.cancel()
    assert "_runquery_2_" in second.job_id


def test_a_task_whose_own_job_was_cancelled_fails(attempt):
    operator, job = attempt(ENDLESS)
    job.cancel()
    with pytest.raises(AirflowException):
        operator.execute_complete({"ti": operator.ti}, failed_event(job))


def test_what_was_exported_is_not_computed_again(refresh, registry, task):
    registry.update(refresh.model, lambda state: state.begin_export(refresh.version))
    ti = TaskInstance()
    assert task(RunQuery, refresh, statement=lambda *_: "SELECT 1", poll_seconds=0.1).execute({"ti": ti}) is None
    assert ti.xcoms == {}


def test_a_version_is_not_computed_once_a_newer_one_was_opened(refresh, registry, task):
    registry.update(refresh.model, lambda state: state.abort(refresh.version, None, reason="a test", now=1).open(0))
    with pytest.raises(AirflowFailException, match="was opened after it"):
        task(RunQuery, refresh, statement=lambda *_: "SELECT 1", poll_seconds=0.1).execute({"ti": TaskInstance()})
