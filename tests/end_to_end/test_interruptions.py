"""Tasks that are killed, cleared, or marked as failed in a real Airflow, and a scheduler that dies while they wait."""

import threading
from contextlib import contextmanager, suppress

import psutil
import pytest

from local_stack import processes
from local_stack.demo import DAG_ID, MODEL
from tests.end_to_end.conftest import SHORT_SMOKE_TEST
from tests.waiting import wait_for

MANY = "UNNEST(GENERATE_ARRAY(1, 1000000))"
BUSY = f"SELECT COUNTIF(MOD(a * b, 7) = 1) AS n FROM {MANY} AS a CROSS JOIN {MANY} AS b"
RUNS = f"dags/{DAG_ID}/dagRuns"

# Each is cleared alone: none follows from another of its group.
CLEARED_TOGETHER = [
    ["retrain", "measure", "export", "smoke_test", "clean_up", "kept_champion"],
    ["train", "predict", "prepare_export", "wait_for_replication", "promote"],
    ["evaluate", "changes", "purge", "await_export", "confirm"],
    ["quality_gate", "await_purge", "prediction_gate", "abort"],
]


@pytest.fixture
def instances(rest):
    """Returns the task instances of a run, by task."""

    def found(run_id):
        instances = rest("GET", f"{RUNS}/{run_id}/taskInstances", params={"limit": 100})["task_instances"]
        return {instance["task_id"]: instance for instance in instances}

    return found


@pytest.fixture
def clear(finish, rest):
    """Clears tasks of a run, and nothing that follows from them; waits until the run has ended again."""

    def clear_and_wait(run_id, task_ids):
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": task_ids, "only_failed": False}
        rest("POST", f"dags/{DAG_ID}/clearTaskInstances", json=body)
        return finish(run_id)

    return clear_and_wait


@pytest.fixture
def waiting_for_training(airflow, instances, refreshes, warehouse):
    """Triggers a refresh and keeps BigQuery busy, so that its training waits, until the block ends; yields the run."""

    @contextmanager
    def waiting():
        run_id = airflow.trigger(DAG_ID, SHORT_SMOKE_TEST)
        wait_for(lambda: instances(run_id)["open_version"]["state"] == "success", seconds=120)
        job = warehouse.query(BUSY)
        try:
            wait_for(lambda: instances(run_id)["train"]["state"] == "deferred", seconds=120)
            refreshes.settle()
            yield run_id
        finally:
            job.cancel()
            with suppress(Exception):
                job.result()

    return waiting


@pytest.fixture
def training(newest, warehouse):
    """Returns the jobs that trained the newest version."""

    def jobs():
        prefix = f"foreserve_{MODEL}_{newest()['version']}_train_"
        return [job for job in warehouse.list_jobs() if job.job_id.startswith(prefix)]

    return jobs


def test_each_task_is_killed_in_the_middle_and_tried_again(
    airflow, finish, instances, model_view, newest, predictions, stack
):
    """All but the choices, which take no time."""
    _, before = predictions()
    run_id = airflow.trigger(DAG_ID, {"export": "full"})
    killed = set()
    stop = threading.Event()

    def kill_each_once():
        while not stop.is_set():
            ids = {i["id"]: task for task, i in instances(run_id).items() if i["try_number"] == 1}
            for process in processes.running(stack.state)["airflow"]:
                with suppress(psutil.NoSuchProcess, IndexError):
                    task = ids.get(process.cmdline()[0].removeprefix("airflow worker -- ").strip())
                    if task and task not in killed:
                        process.kill()
                        killed.add(task)

    thread = threading.Thread(target=kill_each_once)
    thread.start()
    try:
        final = finish(run_id)
    finally:
        stop.set()
        thread.join()
    tries = {task: instance["try_number"] for task, instance in instances(run_id).items()}
    assert final.state == "success", (killed, final.tasks)
    assert {"train", "predict", "export", "smoke_test"} <= killed
    assert all(tries[task] == 2 for task in killed), tries
    assert model_view()["active_version"] == newest()["version"]
    assert set(predictions()[1]) == set(before)


def test_after_success_each_task_is_cleared_alone_and_a_whole_run_opens_another_version(
    airflow, clear, finish, model_view, predictions
):
    run_id = airflow.trigger(DAG_ID, SHORT_SMOKE_TEST)
    final = finish(run_id)
    assert final.state == "success", final.tasks
    tasks = sorted(task.task_id for task in final.tasks)
    assert sorted(sum(CLEARED_TOGETHER, ["open_version"])) == tasks
    versions, before = model_view(), predictions()
    for task_ids in CLEARED_TOGETHER:
        final = clear(run_id, task_ids)
        assert final.state == "success", final.tasks
        assert predictions() == before
    now = model_view()
    assert (now["active_version"], now["rollback_targets"]) == (
        versions["active_version"],
        versions["rollback_targets"],
    )

    final = clear(run_id, tasks)
    assert final.state == "success", final.tasks
    assert model_view()["active_version"] > versions["active_version"]


def test_marking_a_waiting_task_as_failed_cancels_its_job(
    finish, newest, predictions, rest, training, waiting_for_training
):
    before = predictions()
    # The provider's trigger cannot cancel here: it mistakes the local address. Then `abort` does.
    with waiting_for_training() as run_id:
        (job,) = training()
        assert job.state != "DONE"
        rest("PATCH", f"{RUNS}/{run_id}/taskInstances/train", json={"new_state": "failed"})
        with pytest.raises(Exception, match="cancelled"):
            job.result(timeout=60)
    assert finish(run_id).state == "failed"
    assert newest()["status"] == "aborted"
    assert predictions() == before


def test_readers_do_not_notice_that_the_scheduler_dies_and_a_job_that_was_awaited_is_not_lost(
    finish, kill, mend, model_view, newest, predictions, stop_airflow, training, waiting_for_training
):
    before = predictions()
    with waiting_for_training() as run_id:
        with kill("airflow", "scheduler") as killed:
            wait_for(lambda: killed)
        assert predictions() == before
        stop_airflow()  # the rest of it
        assert predictions() == before
    mend()
    final = finish(run_id)
    assert final.state == "success", final.tasks
    assert model_view()["active_version"] == newest()["version"] > before[0]
    (awaited,) = training()
    assert (awaited.state, awaited.error_result) == ("DONE", None)
