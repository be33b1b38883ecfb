"""Tasks that are killed, cleared, or marked as failed in a real Airflow, and a scheduler that dies while they wait."""

import threading
import time
from contextlib import contextmanager, suppress

import psutil
import pytest

from local_stack import processes, supervisor
from local_stack.demo import DAG_ID, MODEL

BUSY = "SELECT MAX(FARM_FINGERPRINT(CAST(x AS STRING))) AS m FROM UNNEST(GENERATE_ARRAY(1, 100000)) AS x"
RUNS = f"/api/v2/dags/{DAG_ID}/dagRuns"

# Each is cleared alone: none follows from another of its group.
CLEARED_TOGETHER = [
    ["retrain", "measure", "export", "smoke_test", "clean_up"],
    ["train", "predict", "prepare_export", "wait_for_replication", "promote"],
    ["evaluate", "changes", "purge", "await_export", "may_promote", "confirm"],
    ["quality_gate", "await_purge", "prediction_gate", "abort"],
]


@pytest.fixture
def instances(airflow):
    """The task instances of a run, by task."""

    def instances(run_id):
        found = airflow._get(f"{RUNS}/{run_id}/taskInstances", limit=100)["task_instances"]
        return {instance["task_id"]: instance for instance in found}

    return instances


@pytest.fixture
def clear(airflow):
    """Clears tasks of a run, and nothing that follows from them; waits until the run has ended again."""

    def clear(run_id, task_ids):
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": task_ids, "only_failed": False}
        airflow._http.post(f"/api/v2/dags/{DAG_ID}/clearTaskInstances", json=body).raise_for_status()
        *_, final = airflow.follow(DAG_ID, run_id)
        return final

    return clear


@pytest.fixture
def mark_failed(airflow):
    def mark_failed(run_id, task_id):
        answer = airflow._http.patch(f"{RUNS}/{run_id}/taskInstances/{task_id}", json={"new_state": "failed"})
        answer.raise_for_status()

    return mark_failed


@pytest.fixture
def until(airflow, instances):
    """Triggers a refresh, and waits until a task is in a state; the run."""

    def until(task_id, state):
        run_id = airflow.trigger(DAG_ID, {})
        while (instances(run_id)[task_id]["state"]) != state:
            time.sleep(0.1)
        return run_id

    return until


@pytest.fixture
def busy(warehouse):
    """Keeps BigQuery busy, so that every other job waits, until the block ends."""

    @contextmanager
    def busy():
        job = warehouse.query(BUSY)
        try:
            yield
        finally:
            job.cancel()
            with suppress(Exception):
                job.result()

    return busy


@pytest.fixture
def training(newest, warehouse):
    """The jobs that trained the newest version."""

    def training():
        prefix = f"foreserve_{MODEL}_{newest()['version']}_train_"
        return [job for job in warehouse.list_jobs() if job.job_id.startswith(prefix)]

    return training


@pytest.fixture
def kill_scheduler(console, killing, stack):
    """Kills the scheduler with its workers; returns how to start Airflow again."""

    def kill_scheduler():
        with killing("airflow", "scheduler", after=0) as kill:
            while not kill.killed:
                time.sleep(0.1)
        service = next(service for service in stack.services() if service.name == "airflow")
        processes.stop(service, stack.state)
        return lambda: supervisor.up(console, "auto", stack.state)

    return kill_scheduler


def test_each_task_is_killed_in_the_middle_and_tried_again(airflow, instances, model, newest, predictions, stack):
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
        *_, final = airflow.follow(DAG_ID, run_id)
    finally:
        stop.set()
        thread.join()
    tries = {task: instance["try_number"] for task, instance in instances(run_id).items()}
    assert final.state == "success", (killed, final.tasks)
    assert {"train", "predict", "export", "smoke_test"} <= killed
    assert all(tries[task] == 2 for task in killed), tries
    assert model()["active_version"] == newest()["version"]
    assert set(predictions()[1]) == set(before)


def test_each_task_is_cleared_alone_after_success(airflow, clear, model, predictions):
    run_id = airflow.trigger(DAG_ID, {})
    *_, final = airflow.follow(DAG_ID, run_id)
    assert final.state == "success"
    time.sleep(2)
    versions, before = model(), predictions()
    assert sorted(sum(CLEARED_TOGETHER, ["open_version"])) == sorted(task.task_id for task in final.tasks)
    for task_ids in CLEARED_TOGETHER:
        final = clear(run_id, task_ids)
        assert final.state == "success", final.tasks
        assert predictions() == before
    now = model()
    assert (now["active_version"], now["rollback_targets"]) == (
        versions["active_version"],
        versions["rollback_targets"],
    )


def test_a_whole_run_is_cleared_after_success(airflow, clear, model):
    """Then its first task opens another version."""
    run_id = airflow.trigger(DAG_ID, {})
    *_, first = airflow.follow(DAG_ID, run_id)
    time.sleep(2)
    before = model()["active_version"]
    final = clear(run_id, [task.task_id for task in first.tasks])
    time.sleep(2)
    assert final.state == "success", final.tasks
    assert model()["active_version"] > before


def test_marking_a_waiting_task_as_failed_cancels_its_job(
    airflow, busy, mark_failed, newest, predictions, training, until
):
    before = predictions()
    with busy():  # the provider's trigger cannot cancel here: it mistakes the local address; then `abort` does
        run_id = until("train", "deferred")
        time.sleep(1.5)  # the lookup service asks the registry every second
        (job,) = training()
        assert job.state != "DONE"
        mark_failed(run_id, "train")
        with pytest.raises(Exception, match="cancelled"):
            job.result(timeout=60)
    *_, final = airflow.follow(DAG_ID, run_id)
    assert final.state == "failed"
    time.sleep(2)
    assert newest()["status"] == "aborted"
    assert predictions() == before


def test_a_scheduler_that_dies_while_a_job_is_awaited_loses_nothing(
    airflow, busy, kill_scheduler, model, newest, training, until
):
    with busy():
        run_id = until("train", "deferred")
        start_again = kill_scheduler()
    start_again()
    *_, final = airflow.follow(DAG_ID, run_id)
    assert final.state == "success", final.tasks
    time.sleep(2)
    assert model()["active_version"] == newest()["version"]
    (awaited,) = training()
    assert (awaited.state, awaited.error_result) == ("DONE", None)
