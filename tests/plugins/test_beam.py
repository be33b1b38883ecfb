"""Beam jobs: processes on this machine, and jobs on Dataflow, against a server with Dataflow's protocol."""

import os
import signal
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest
from airflow.providers.google.cloud.hooks.dataflow import DataflowHook
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from google.api_core.client_options import ClientOptions

from foreserve.operators import AbortVersion, AwaitDataflowJob, RunBeamJob
from prediction_store.lifecycle import Receipt
from tests.beam_jobs.fake_dataflow import running
from tests.plugins.conftest import TaskInstance
from tests.waiting import wait_for

JOB_ID = "2026-01-01_00_00_00-1"


@pytest.fixture(scope="module")
def dataflow(cloud, tmp_path_factory):
    with running(tmp_path_factory.mktemp("google")) as google, pytest.MonkeyPatch.context() as patch:
        patch.setattr(DataflowHook, "get_client_options", lambda _: ClientOptions(api_endpoint=google.url))
        yield google


@pytest.fixture
def poke(cloud, dataflow):
    """Pokes once at a job with the given state, counters and messages."""

    def poke_sensor(state, metrics=(), messages=(), job_id=JOB_ID):
        dataflow.jobs[JOB_ID] = {"id": JOB_ID, "name": "export-m-1-0a1b2c3d", "currentState": state}
        dataflow.metrics, dataflow.messages = list(metrics), list(messages)
        sensor = AwaitDataflowJob(
            task_id="await_export",
            job_id=job_id,
            metrics="export",
            cloud=cloud,
            region="europe-west1",
        )
        return sensor.poke({})

    return poke_sensor


def counter(name, value, step="s1", namespace="export", **context):
    name = {"origin": "user", "name": name, "context": {"namespace": namespace, "step": step, **context}}
    return {"name": name, "scalar": value}


def error(text):
    return {"messageImportance": "JOB_MESSAGE_ERROR", "messageText": text}


@pytest.mark.parametrize("state", ["JOB_STATE_QUEUED", "JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_UNKNOWN"])
def test_a_job_that_has_not_ended_is_waited_for(poke, state):
    assert poke(state) is False


def test_the_log_has_the_counters_of_work_in_progress(poke, capsys):
    finished = [counter("predictions", 1_000)]
    in_progress = [
        counter("predictions", 1_200_000, tentative="true"),
        counter("predictions", 34_567, step="s2", tentative="true"),
        counter("bytes", 99, tentative="true"),
        counter("predictions", 5, namespace="another", tentative="true"),
        {"name": {"origin": "dataflow/v1b3", "name": "TotalVcpuTime", "context": {}}, "scalar": 7},
    ]
    poke("JOB_STATE_RUNNING", finished + in_progress)
    assert "JOB_STATE_RUNNING: bytes 99, predictions 1,234,567" in capsys.readouterr().out


def test_the_log_has_the_exact_counters_of_a_job_that_is_done(poke, capsys):
    assert poke("JOB_STATE_DONE", [counter("predictions", 1_000), counter("predictions", 1_100, tentative="true")])
    assert "JOB_STATE_DONE: predictions 1,000" in capsys.readouterr().out


@pytest.mark.parametrize("state", ["JOB_STATE_FAILED", "JOB_STATE_CANCELLED"])
def test_a_failed_job_fails_the_task_at_once_with_its_last_errors(poke, state):
    chatter = {"messageImportance": "JOB_MESSAGE_BASIC", "messageText": "Worker configuration: n2-standard-4."}
    messages = [chatter, *(error(f"error {number}") for number in range(9)), error("Bigtable refused 1 rows")]
    with pytest.raises(AirflowFailException, match=f"{JOB_ID} ended as {state}: error 7; error 8; Bigtable refused 1"):
        poke(state, messages=messages)


def test_a_failed_job_without_errors_fails_too(poke):
    with pytest.raises(AirflowFailException, match="it reported no error"):
        poke("JOB_STATE_CANCELLED")


def test_a_job_that_ran_elsewhere_has_ended(poke):
    assert poke("JOB_STATE_RUNNING", job_id="")


@pytest.fixture
def submitted(dataflow):
    """A running job on Dataflow."""
    dataflow.jobs[JOB_ID] = {
        "id": JOB_ID,
        "name": "export-m-1",
        "type": "JOB_TYPE_BATCH",
        "currentState": "JOB_STATE_RUNNING",
    }
    return dataflow.jobs[JOB_ID]


def test_killing_the_task_that_awaits_a_job_cancels_it(cloud, submitted):
    AwaitDataflowJob(
        task_id="await_export", job_id=JOB_ID, metrics="export", cloud=cloud, region="europe-west1"
    ).on_kill()
    assert submitted["requestedState"] == "JOB_STATE_CANCELLED"


@pytest.mark.parametrize(("state", "cancelled"), [("JOB_STATE_RUNNING", True), ("JOB_STATE_DONE", False)])
def test_aborting_a_version_cancels_its_job_if_it_still_runs(open_version, state, submitted, cancelled, task):
    submitted["currentState"] = state
    task(AbortVersion, open_version(), dataflow_jobs=["", JOB_ID], region="europe-west1").execute({})
    assert ("requestedState" in submitted) is cancelled


@pytest.fixture
def job(open_version, task, tmp_path):
    """Makes a task whose Beam job is the given Python script."""

    def make_job(script, runner="FnApiRunner", *, is_export=True, **options):
        (tmp_path / "job.py").write_text(script)
        return task(
            RunBeamJob,
            open_version(),
            python=sys.executable,
            script=str(tmp_path / "job.py"),
            runner=runner,
            region="europe-west1",
            options=options,
            refresh_options=lambda refresh: {"version": refresh.version},
            is_export=is_export,
        )

    return make_job


def test_what_a_job_logs_is_in_the_tasks_log(job, capfd):
    script = "import sys\nfor n in range(20_000): print(f'line {n} {sys.argv[2]}', file=sys.stderr)"
    job(script, model="m").execute({})
    assert "line 19999 --model=m" in capfd.readouterr().out


@pytest.fixture
def launcher(job, submitted):
    """A task whose process has submitted the job, and the XComs of the task."""
    script = f"import sys, time\nprint('Created job with id: [{JOB_ID}]', file=sys.stderr, flush=True)\ntime.sleep(60)"
    operator, ti = job(script, runner="DataflowRunner"), TaskInstance()
    operator.execute({"ti": ti})
    return operator, ti.xcoms


def test_the_id_of_a_job_on_dataflow_is_passed_on(launcher):
    _, xcoms = launcher
    assert xcoms["dataflow_job_id"] == JOB_ID
    assert xcoms["dataflow_job_config"] == {"job_id": JOB_ID, "project_id": "demo", "region": "europe-west1"}


def test_killing_the_task_that_has_submitted_a_job_cancels_it(launcher, submitted):
    operator, _ = launcher
    operator.on_kill()
    assert submitted["requestedState"] == "JOB_STATE_CANCELLED"


def test_a_job_that_fails_fails_the_task(job):
    with pytest.raises(AirflowException, match="return code 3"):
        job("raise SystemExit(3)").execute({})


def test_no_job_is_run_for_a_promoted_version(job, registry):
    operator = job("raise SystemExit(3)")
    refresh = operator.refresh
    step = registry.get(refresh.model).begin_export(refresh.version).complete_export(refresh.version, Receipt(0, 0))
    step = step.promote(refresh.version, expected_active=None, expected=Receipt(0, 0))
    registry.update(refresh.model, lambda _: step)
    assert operator.execute({}) is None


def test_no_export_is_run_before_the_purge_whatever_was_cleared(job, open_version, registry):
    aborted = open_version()
    step = registry.get(aborted.model).begin_export(aborted.version)
    registry.update(aborted.model, lambda _: step.abort(aborted.version, None, reason="a test", now=1))
    with pytest.raises(AirflowFailException, match=rf"cells of versions \[{aborted.version}\].*clear the task purge"):
        job("raise SystemExit(3)").execute({})
    purge = job("raise SystemExit(0)", is_export=False)
    purge.execute({})
    version = purge.refresh.version
    registry.update(aborted.model, lambda state: state.mark_purged(version, above=0, began=0))
    job("raise SystemExit(0)").execute({})
    registry.get(aborted.model).require_exporting(registry.get(aborted.model).latest)


@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGKILL])
def test_a_job_ends_with_its_task_whether_airflow_stops_it_or_the_worker_dies(job, kill, tmp_path):
    pid_file = tmp_path / "pid"
    script = f"import os, pathlib, time\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\ntime.sleep(60)"
    operator = job(script)

    def run():
        signal.signal(signal.SIGTERM, lambda *_: (operator.on_kill(), os._exit(1)))
        operator.execute({})

    worker = get_context("fork").Process(target=run)
    worker.start()
    pid = int(wait_for(lambda: pid_file.exists() and pid_file.read_text()))
    os.kill(worker.pid, kill)
    worker.join()
    wait_for(lambda: not is_running(pid))


def is_running(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
