"""Refreshes through Airflow, one after another in the same stack: each test goes on where the one before ended."""

import json
import time

import httpx
import pytest

from local_stack import processes, sample_data, supervisor
from local_stack.demo import MODEL


def test_a_first_refresh_trains_exports_and_serves(run, model, newest, predictions, warehouse):
    state, tasks = run()
    assert (state, tasks["abort"]) == ("success", "skipped")
    record = newest()
    assert model()["active_version"] == record["version"]
    details = record["details"]
    assert details["metrics"]["candidate"]["roc_auc"] == pytest.approx(0.83, abs=0.02)
    assert details["counts"] == {"predictions": 23_570, "written": 23_570, "tombstones": 0, "unchanged": 0}
    assert details["smoke_test"]["p99_ms"] < details["smoke_test"]["objective_p99_ms"] == 100

    _, served = predictions()
    rows = warehouse.query_and_wait(
        f"SELECT * FROM `{details['predictions_table']}` WHERE entity_id BETWEEN '00501' AND '01499'"
    )
    assert served == {row.entity_id: json.loads(row.payload) for row in rows}
    assert len(served) == 999


def test_a_second_refresh_writes_only_what_changed(run, model, newest, predictions, warehouse):
    first, before = predictions()
    assert sample_data.next_week(warehouse).rows > 0
    warehouse.query_and_wait("DELETE FROM shop.transactions WHERE customer_id BETWEEN '00001' AND '01000'")
    assert run()[0] == "success"
    details = newest()["details"]
    counts = details["counts"]
    assert (counts["predictions"], counts["tombstones"]) == (22_570, 1000)
    assert 0 < counts["written"] < counts["unchanged"] + counts["written"] == counts["predictions"]
    assert (details["smoke_test"]["errors"], details["smoke_test"]["mismatches"]) == (0, 0)
    second, after = predictions()
    assert second == model()["active_version"] > first
    assert {id_ for id_, prediction in after.items() if prediction is None} == {id_ for id_ in before if id_ <= "01000"}
    assert predictions(version=first) == (first, before)


def test_a_version_that_is_not_to_be_promoted_can_only_be_previewed(run, newest, predictions):
    active, before = predictions()
    state, tasks = run(retrain=False, promote=False, export="full")
    assert (state, tasks["train"], tasks["promote"]) == ("success", "skipped", "skipped")
    record = newest()
    assert record["details"]["counts"]["written"] == 22_570
    assert predictions() == (active, before)
    assert predictions(version=record["version"]) == (record["version"], before)  # the same model on the same data


def test_cells_that_were_not_promoted_are_purged_first(run, model, newest):
    unpromoted = newest()["version"]
    state, tasks = run()
    assert (state, tasks["purge"]) == ("success", "success")
    statuses = {version["version"]: version["status"] for version in model()["versions"]}
    assert statuses[unpromoted] == "purged"


def test_a_rollback_serves_the_version_before_and_the_next_refresh_goes_on(run, model, predictions):
    after = predictions()
    target = model()["rollback_targets"][0]
    before = predictions(version=target)
    assert run("roll_back", model=MODEL, version=str(target))[0] == "success"
    assert predictions() == before
    assert run()[0] == "success"
    assert predictions()[0] > after[0]


def test_an_impossible_rollback_fails_and_changes_nothing(run, predictions):
    before = predictions()
    assert run("roll_back", model=MODEL, version="17")[0] == "failed"
    assert predictions() == before


def test_a_gate_that_closes_keeps_the_served_version(run, newest, predictions, warehouse):
    """Here the one on the predictions: half of the customers are gone."""
    before = predictions()
    warehouse.query_and_wait("CREATE TABLE shop.kept AS SELECT * FROM shop.transactions")
    warehouse.query_and_wait("DELETE FROM shop.transactions WHERE customer_id >= '10000'")
    try:
        state, tasks = run()
    finally:
        warehouse.query_and_wait("CREATE OR REPLACE TABLE shop.transactions AS SELECT * FROM shop.kept")
    assert (state, tasks["prediction_gate"], tasks["abort"]) == ("failed", "failed", "success")
    record = newest()
    assert (record["status"], record["details"]["prediction_gate"]["outcome"]) == ("aborted", "stopped")
    assert any("prediction_gate.max_row_change" in reason for reason in record["details"]["prediction_gate"]["reasons"])
    assert predictions() == before


def test_an_export_that_is_killed_at_every_try_fails_the_refresh(run, killing, newest):
    with killing("export_predictions.py", "--runner", after=1) as kill:
        state, tasks = run(export="full")
    assert kill.killed >= 2
    assert (state, tasks["export"], tasks["abort"]) == ("failed", "failed", "success")
    assert newest()["status"] == "aborted"


def test_after_a_failed_export_readers_are_where_they_were(run, model, newest, predictions):
    active, before = predictions()
    assert active == model()["active_version"] < newest()["version"]
    state, tasks = run()
    assert (state, tasks["purge"]) == ("success", "success")
    assert predictions()[0] > active
    assert predictions(version=active) == (active, before)


def test_a_service_that_dies_in_the_smoke_test_fails_the_refresh(airflow, stack, console, killing, predictions):
    before = predictions()
    run_id = airflow.trigger("refresh_repeat_purchase", {})
    states = airflow.follow("refresh_repeat_purchase", run_id)
    next(state for state in states if ("smoke_test", "running") in {(t.task_id, t.state) for t in state.tasks})
    with killing("serving_api", "--port", after=3) as kill:
        *_, final = states
    assert kill.killed
    assert (final.state, {t.task_id: t.state for t in final.tasks}["smoke_test"]) == ("failed", "failed")
    supervisor.up(console, "auto", stack.state)  # starts what is missing
    time.sleep(2)
    assert predictions() == before


def test_readers_do_not_notice_that_the_scheduler_died(airflow, stack, console, killing, predictions):
    before = predictions()
    run_id = airflow.trigger("refresh_repeat_purchase", {})
    with killing("airflow", "scheduler") as kill:
        state = next(state for state in airflow.follow("refresh_repeat_purchase", run_id) if kill.killed)
    assert state.state in ("queued", "running")
    assert predictions() == before
    airflow_service = next(service for service in stack.services() if service.name == "airflow")
    processes.stop(airflow_service, stack.state)
    assert predictions() == before
    supervisor.up(console, "auto", stack.state)
    *_, final = airflow.follow("refresh_repeat_purchase", run_id)
    served = predictions()[0]
    assert (final.state == "success") == (served > before[0])


def test_nothing_listens_beyond_loopback(stack):
    """Except Airflow's log servers: their address cannot be set, and they answer signed requests only."""
    beyond = {
        connection.laddr.port
        for found in processes.running(stack.state).values()
        for process in found
        for connection in process.net_connections("tcp")
        if connection.status == "LISTEN" and connection.laddr.ip not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")
    }
    assert beyond <= {stack.ports["airflow_worker_logs"], stack.ports["airflow_trigger_logs"]}


def test_the_pages_are_there(stack, api):
    assert "Foreserve" in api.get("/").text
    assert httpx.get(f"{stack.url('airflow')}/dags/refresh_repeat_purchase", follow_redirects=True).status_code == 200
