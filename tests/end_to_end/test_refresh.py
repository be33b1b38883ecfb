"""Refreshes through Airflow: what they train, write, promote and leave as it was."""

import json
from configparser import ConfigParser

import httpx
import pytest

from local_stack import processes, sample_data
from local_stack.demo import DAG_ID, MODEL
from tests.end_to_end.conftest import API_KEY
from tests.waiting import wait_for

MAX_BYTES = 100_000_000


def test_a_first_refresh_trains_exports_and_serves(first_refresh):
    assert first_refresh.tasks["abort"] == "skipped"
    assert first_refresh.active_version == first_refresh.version["version"]
    details = first_refresh.version["details"]
    assert details["metrics"]["candidate"]["roc_auc"] == pytest.approx(0.83, abs=0.02)
    assert details["counts"] == {"predictions": 23_570, "written": 23_570, "tombstones": 0, "unchanged": 0}
    assert details["smoke_test"]["p99_ms"] < details["smoke_test"]["objective_p99_ms"] == 100
    assert first_refresh.served == first_refresh.predicted
    assert len(first_refresh.served) == 999


def test_a_refresh_writes_only_what_changed(run, model_view, newest, predictions, purchases, warehouse):
    first, before = predictions()
    assert sample_data.next_week(warehouse).rows > 0
    warehouse.query_and_wait(f"DELETE FROM {purchases} WHERE customer_id BETWEEN '00001' AND '01000'")
    assert run()[0] == "success"
    details = newest()["details"]
    counts = details["counts"]
    assert (counts["predictions"], counts["tombstones"]) == (22_570, 1000)
    assert 0 < counts["written"] < counts["unchanged"] + counts["written"] == counts["predictions"]
    assert (details["smoke_test"]["errors"], details["smoke_test"]["mismatches"]) == (0, 0)
    second, after = predictions()
    assert second == model_view()["active_version"] > first
    assert {id_ for id_, prediction in after.items() if prediction is None} == {id_ for id_ in before if id_ <= "01000"}
    assert predictions(version=first) == (first, before)


def test_a_version_that_is_not_to_be_promoted_is_a_preview_and_its_cells_are_purged_first(
    run, model_view, newest, predictions, warehouse
):
    active = predictions()
    state, tasks = run(retrain=False, promote=False, export="full")
    assert (state, tasks["train"], tasks["promote"]) == ("success", "skipped", "skipped")
    version, details = newest()["version"], newest()["details"]
    assert details["counts"]["written"] == details["counts"]["predictions"] == 23_570
    assert predictions() == active
    rows = warehouse.query_and_wait(f"SELECT * FROM `{details['predictions_table']}`")
    predicted = {row.entity_id: json.loads(row.payload) for row in rows}
    assert predictions(version=version) == (version, {id_: predicted[id_] for id_ in active[1]})

    state, tasks = run(retrain=False)
    assert (state, tasks["purge"]) == ("success", "success")
    statuses = {version["version"]: version["status"] for version in model_view()["versions"]}
    assert statuses[version] == "purged"


def test_a_rollback_serves_the_version_before_and_the_next_refresh_goes_on(run, predictions, rollback_target):
    after = predictions()
    before = predictions(version=rollback_target)
    assert run("roll_back", model=MODEL, version=str(rollback_target))[0] == "success"
    assert predictions() == before
    assert run(retrain=False)[0] == "success"
    assert predictions()[0] > after[0]


def test_an_impossible_rollback_fails_and_changes_nothing(run, predictions):
    before = predictions()
    assert run("roll_back", model=MODEL, version="17")[0] == "failed"
    assert predictions() == before


def test_a_breach_of_the_prediction_gate_keeps_the_active_version(run, newest, predictions, purchases, warehouse):
    before = predictions()
    warehouse.query_and_wait(f"DELETE FROM {purchases} WHERE customer_id >= '10000'")
    state, tasks = run(retrain=False)
    assert (state, tasks["prediction_gate"], tasks["abort"]) == ("failed", "failed", "success")
    record = newest()
    assert (record["status"], record["details"]["prediction_gate"]["outcome"]) == ("aborted", "stopped")
    assert any("prediction_gate.max_row_change" in reason for reason in record["details"]["prediction_gate"]["reasons"])
    assert predictions() == before


def test_an_export_that_is_killed_at_every_try_fails_the_refresh_and_the_next_one_goes_on(
    run, kill, model_view, newest, predictions
):
    active, before = predictions()

    def has_loaded_grpc(process):
        return any("cygrpc" in file.path for file in process.memory_maps())

    with kill("export_predictions.py", "--runner", when=has_loaded_grpc) as killed:
        state, tasks = run(export="full")
    assert len(killed) >= 2
    assert (state, tasks["export"], tasks["abort"]) == ("failed", "failed", "success")
    assert newest()["status"] == "aborted"
    assert predictions() == (active, before)
    assert active == model_view()["active_version"] < newest()["version"]

    state, tasks = run(retrain=False)
    assert (state, tasks["purge"]) == ("success", "success")
    assert predictions()[0] > active
    assert predictions(version=active) == (active, before)


def test_a_service_that_dies_in_the_smoke_test_fails_the_refresh(airflow, api, finish, kill, mend, predictions):
    before = predictions()
    answered = lookups_answered(api)
    run_id = airflow.trigger(DAG_ID, {"retrain": False})
    wait_for(lambda: lookups_answered(api) > answered + 100, seconds=300)
    with kill("serving_api", "--port") as killed:
        *_, final = airflow.follow(DAG_ID, run_id)
    assert killed
    assert (final.state, {t.task_id: t.state for t in final.tasks}["smoke_test"]) == ("failed", "failed")
    mend()
    assert finish(run_id).state == "failed"
    assert predictions() == before


def lookups_answered(api):
    """The number of lookups of one entity that the service has answered."""
    samples = (
        line.rsplit(" ", 1) for line in api.get("/metrics").text.splitlines() if "predictions/{entity_id}" in line
    )
    return sum(float(value) for name, value in samples if name.startswith("foreserve_request_seconds_count"))


def test_only_the_log_servers_of_airflow_listen_beyond_loopback(stack):
    # Their address cannot be set, and they answer signed requests only.
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
    assert httpx.get(f"{stack.url('airflow')}/dags/{DAG_ID}", follow_redirects=True).status_code == 200


def test_no_log_no_xcom_and_no_report_has_a_key(stack, first_refresh, access_token):
    home = stack.state / "airflow"
    configuration = ConfigParser(interpolation=None)
    configuration.read(home / "airflow.cfg")
    options = (("core", "fernet_key"), ("api", "secret_key"), ("api_auth", "jwt_secret"))
    secrets = {API_KEY, access_token, *(configuration.get(*option, fallback="") for option in options)} - {""}
    assert len(secrets) > 2
    files = [file for file in stack.state.rglob("*") if file.is_file() and file.name != "airflow.cfg"]
    content = {file: file.read_bytes() for file in files if file.stat().st_size < MAX_BYTES}
    version = str(first_refresh.version["version"]).encode()
    with_version = {file.suffix.partition("-")[0] for file, text in content.items() if version in text}
    assert {".log", ".db"} <= with_version  # XComs are in the database
    assert not [(file, secret) for file, text in content.items() for secret in secrets if secret.encode() in text]
