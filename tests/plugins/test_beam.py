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
from googleapiclient.errors import HttpError
from httplib2 import ServerNotFoundError

from foreserve.operators import AbortVersion, AwaitDataflowJob, CleanUp, RunExport, RunPurge
from prediction_store.lifecycle import Receipt, Status
from tests.beam_jobs.fake_dataflow import running
from tests.plugins.conftest import TaskInstance
from tests.repository import ROOT
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


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_job_is_awaited_although_dataflow_refuses_calls(dataflow, poke, status):
    dataflow.failures.append((status, "UNAVAILABLE"))
    assert poke("JOB_STATE_DONE") is False
    assert poke("JOB_STATE_DONE") is True
    dataflow.failures.append((status, "UNAVAILABLE"))
    assert poke("JOB_STATE_FAILED") is False


def test_a_job_is_awaited_although_the_name_of_dataflow_is_not_resolved(monkeypatch, poke):
    def get_job(*_, **__):
        raise ServerNotFoundError("Unable to find the server at dataflow.googleapis.com")

    with monkeypatch.context() as patch:
        patch.setattr(DataflowHook, "get_job", get_job)
        assert poke("JOB_STATE_DONE") is False
    assert poke("JOB_STATE_DONE") is True


def test_a_job_that_may_not_be_read_is_not_awaited(dataflow, poke):
    dataflow.failures.append((403, "PERMISSION_DENIED"))
    with pytest.raises(HttpError, match="403"):
        poke("JOB_STATE_RUNNING")


def test_a_failed_job_without_errors_fails_too(poke):
    with pytest.raises(AirflowFailException, match="it reported no error"):
        poke("JOB_STATE_CANCELLED")


def test_a_job_that_ran_in_the_task_has_ended(poke):
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
def test_aborting_a_version_cancels_its_job_if_it_still_runs(context, open_version, state, submitted, cancelled, task):
    submitted["currentState"] = state
    task(AbortVersion, open_version(), dataflow_jobs=["", JOB_ID], region="europe-west1").execute(context())
    assert ("requestedState" in submitted) is cancelled


@pytest.fixture
def job(open_version, task, tmp_path):
    """Makes a task whose Beam job is the given Python script."""

    def make_job(script, runner="FnApiRunner", *, is_export=True, **options):
        (tmp_path / "job.py").write_text(script)
        return task(
            RunExport if is_export else RunPurge,
            open_version(),
            python=sys.executable,
            script=str(tmp_path / "job.py"),
            runner=runner,
            region="europe-west1",
            options=options,
            rows_without_dataflow=0,
        )

    return make_job


def test_what_a_job_logs_is_in_the_tasks_log(job, capfd):
    script = "import sys\nfor n in range(20_000): print(f'line {n} {sys.argv[2]}', file=sys.stderr)"
    job(script, first="m").execute({})
    assert "line 19999 --first=m" in capfd.readouterr().out


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


def test_a_submission_without_a_job_fails_with_the_reason(dataflow, job):
    # A template, for example. What it would have written would be missed only when the version is promoted.
    operator = job("print('Template staged')", runner="DataflowRunner")
    with pytest.raises(AirflowFailException, match="without the id of a job on Dataflow, so nothing was written"):
        operator.execute({"ti": TaskInstance()})


def test_a_job_that_fails_fails_the_task(job):
    with pytest.raises(AirflowException, match="return code 3"):
        job("raise SystemExit(3)").execute({})


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            "import sys\nprint('INFO:x:1 row', file=sys.stderr)\nraise KeyError('no such row')",
            "KeyError: 'no such row'",
        ),
        ("raise SystemExit('change beam_jobs/Dockerfile')", "change beam_jobs/Dockerfile"),
        ("def f():\n  raise ValueError('first')\ntry: f()\nexcept ValueError: raise OSError('last')", "OSError: last"),
    ],
)
def test_the_error_of_a_job_comes_first(job, script, reason):
    with pytest.raises(AirflowException) as error:
        job(script).execute({})
    assert str(error.value) == f"{reason}\nApache Beam process failed with return code 1"


def test_the_error_of_a_step_is_the_error_of_its_job(exporting, run):
    refresh = exporting({"": "1"})  # which is no row key
    with pytest.raises(AirflowException, match=r"^ValueError: an entity id has 1 to .* 'Write cells'"):
        run(RunExport, refresh, "export_predictions")


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


@pytest.fixture
def run(cloud, dataflow, task):
    """Runs a job of the given rows or more on Dataflow, of fewer in the task; returns the operator."""

    def run(operator, refresh, module, rows_without_dataflow=1_000):
        made = task(
            operator,
            refresh,
            python=sys.executable,
            script=str(ROOT / "beam_jobs" / f"{module}.py"),
            runner="DataflowRunner",
            region="europe-west1",
            options={
                "bigtable_project": cloud.bigtable.project,
                "bigtable_instance": cloud.bigtable.instance,
                "temp_location": "gs://bucket/jobs",
                "max_num_workers": 5,
                "use_public_ips": False,
                "sdk_container_image": "europe-docker.pkg.dev/demo/beam-jobs:1",
                "labels": {"team": "growth"},
            },
            rows_without_dataflow=rows_without_dataflow,
        )
        made.execute({"ti": TaskInstance()})
        return made

    return run


@pytest.fixture
def exporting(open_version, registry, warehouse):
    """Opens a version with changes, and begins its export unless a purge comes first."""

    def exporting(changes):
        refresh = open_version()
        values = ", ".join(f"STRUCT('{key}' AS entity_id, '{value}' AS payload)" for key, value in changes.items())
        rows = f"[{values}]" if values else "CAST([] AS ARRAY<STRUCT<entity_id STRING, payload STRING>>)"
        warehouse.query_and_wait(f"CREATE TABLE `{refresh.changes_table}` AS SELECT * FROM UNNEST({rows})")
        counts = {"predictions": len(changes), "written": len(changes), "tombstones": 0, "unchanged": 0}

        def begin(state):
            noted = state.note(refresh.version, counts=counts)
            return noted if state.stale_versions(refresh.version) else noted.begin_export(refresh.version)

        registry.update(refresh.model, begin)
        return refresh

    return exporting


def record(registry, refresh):
    return registry.get(refresh.model).versions[refresh.version]


def test_a_small_export_is_written_by_the_task(capfd, exporting, registry, run):
    refresh = exporting({"a": "1", "b": "2"})
    operator = run(RunExport, refresh, "export_predictions")
    assert record(registry, refresh).receipt == Receipt(2, 0)
    assert operator.dataflow_job_id is None
    assert "2 rows to write: FnApiRunner (in the task below 1000 rows)" in capfd.readouterr().out


def test_an_export_of_nothing_needs_no_process(exporting, registry, run):
    refresh = exporting({})
    run(RunExport, refresh, "no_such_job")
    assert record(registry, refresh).receipt == Receipt(0, 0)


def test_a_purge_reads_the_changes_of_the_stale_version_which_clean_up_keeps(
    context, capfd, exporting, registry, run, task
):
    stale = exporting({"a": "1"})
    run(RunExport, stale, "export_predictions")
    task(AbortVersion, stale, dataflow_jobs=[], region="europe-west1").execute(context())
    task(AbortVersion, exporting({"b": "2"}), dataflow_jobs=[], region="europe-west1").execute(
        context()
    )  # cleans up, too
    operator = run(RunPurge, exporting({"a": "2"}), "purge_stale_cells")
    assert operator.pipeline_options["changes_table"] == [stale.changes_table]
    assert record(registry, stale).status is Status.PURGED
    assert "1 rows to write: FnApiRunner" in capfd.readouterr().out


def test_a_purge_of_nothing_needs_no_process(context, exporting, registry, run, task):
    stale = exporting({})
    task(AbortVersion, stale, dataflow_jobs=[], region="europe-west1").execute(context())
    run(RunPurge, exporting({"a": "2"}), "no_such_job")
    assert record(registry, stale).status is Status.PURGED


def test_the_tables_of_purged_versions_are_dropped(context, exporting, run, task, warehouse):
    stale = exporting({})
    task(AbortVersion, stale, dataflow_jobs=[], region="europe-west1").execute(context())
    refresh = exporting({"a": "1"})
    run(RunPurge, refresh, "no_such_job")
    task(CleanUp, refresh).execute({})
    assert stale.changes_table.rpartition(".")[2] not in {t.table_id for t in warehouse.list_tables(stale.dataset)}


@pytest.mark.parametrize("change", ["DROP TABLE `{}`", "INSERT INTO `{}` VALUES ('x', '1')"])
def test_a_table_of_changes_that_is_gone_or_changed_is_not_trusted(change, exporting, registry, task, warehouse):
    stale = exporting({"a": "1"})
    warehouse.query_and_wait(change.format(stale.changes_table))
    refresh = exporting({"a": "2"})
    purge = task(
        RunPurge,
        refresh,
        python=sys.executable,
        script="purge_stale_cells.py",
        runner="DataflowRunner",
        region="europe-west1",
        options={},
        rows_without_dataflow=1_000,
    )
    assert purge.count_rows(registry.get(refresh.model)) is None
    assert "changes_table" not in purge.pipeline_options
    assert purge.pipeline_options["active"] == 0
