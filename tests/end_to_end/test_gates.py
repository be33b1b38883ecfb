"""A pipeline whose every candidate breaches the quality gate, in a real Airflow: questions to a person, and alerts."""

import pytest

from tests.waiting import wait_for

DAG_ID = "refresh_cautious"
SMALL = {"smoke_test_requests": 100, "smoke_test_rate": 50}


@pytest.fixture(autouse=True)
def parsed(airflow):
    """Airflow has the pipeline."""
    airflow.wait_for_dag(DAG_ID)


def run_path(run_id):
    return f"dags/{DAG_ID}/dagRuns/{run_id}"


@pytest.fixture
def versions(api, refreshes):
    """Returns the lookup service's records of the versions of the pipeline's model, newest first."""

    def known():
        refreshes.settle()
        response = api.get("/v1/models/cautious")
        return response.json()["versions"] if response.is_success else []

    return known


@pytest.fixture
def heartbeat(rest):
    """Returns the time of the scheduler's latest heartbeat.

    Airflow tries a task again if it is answered before the scheduler has noticed that the task's process has ended.
    """
    return lambda: rest("GET", "monitor/health")["scheduler"]["latest_scheduler_heartbeat"]


def test_an_override_without_a_reason_fails_before_anything_is_done_and_is_told(airflow, finish, versions, mailbox):
    before = versions()
    final = finish(airflow.trigger(DAG_ID, {"override_gates": True}), DAG_ID)
    states = {task.task_id: task.state for task in final.tasks}
    assert (final.state, states["open_version"], states["train"]) == ("failed", "failed", "upstream_failed")
    assert versions() == before
    assert "override_gates is set, but reason is empty" in mailbox.wait_for(f"open_version of {DAG_ID} failed")


def test_on_a_breach_a_person_is_asked_and_decides(airflow, rest, versions, mailbox, api, heartbeat):
    run_id = airflow.trigger(DAG_ID, SMALL)
    states = airflow.follow(DAG_ID, run_id)
    waiting = {"awaiting_input", "deferred"}
    next(state for state in states if any(t.task_id == "quality_gate" and t.state in waiting for t in state.tasks))
    gate = versions()[0]["details"]["quality_gate"]
    assert (gate["outcome"], gate["accepted"]) == ("asked", False)
    task = f"{run_path(run_id)}/taskInstances/quality_gate/-1/hitlDetails"
    question = rest("GET", task)
    assert gate["reasons"][0] in question["body"]
    assert question["options"] == ["Use the candidate", "Stop"]  # there is no champion yet

    assert mailbox.wait_for(f"{run_id} is late")
    for _ in range(2):
        heard = heartbeat()
        wait_for(lambda heard=heard: heartbeat() > heard)

    answer = {"chosen_options": ["Use the candidate"], "params_input": {"why": "a first model"}}
    rest("PATCH", task, json=answer)
    *_, final = states
    assert final.state == "success"

    version = versions()[0]
    details = version["details"]
    assert (details["quality_gate"]["outcome"], details["quality_gate"]["why"]) == ("approved", "a first model")
    assert details["quality_gate"]["by"] == details["run"]["by"] == details["promotion"]["by"]
    assert details["prediction_gate"]["outcome"] == "accepted"
    assert details["measures"]["predictions"] == details["counts"]["predictions"]
    assert details["smoke_test"]["requests"] == 100

    events = rest("GET", "assets/events", params={"source_dag_id": DAG_ID})["asset_events"]
    assert [(event["name"], event["extra"]["version"]) for event in events] == [
        ("cautious predictions", version["version"])
    ]

    links = rest("GET", f"{run_path(run_id)}/taskInstances/smoke_test/links")["extra_links"]
    report = api.get(links["Latency report"])
    assert report.headers["content-type"] == "text/html"
    assert "Passed" in report.text
    links = rest("GET", f"{run_path(run_id)}/taskInstances/promote/links")["extra_links"]
    assert api.get(links["Active version"]).json()["active_version"] == version["version"]
