"""Waiting for a job on Dataflow, against a server that speaks as Dataflow does."""

import json

import pytest
from airflow.providers.google.cloud.hooks.dataflow import DataflowHook
from airflow.sdk.exceptions import AirflowFailException
from google.api_core.client_options import ClientOptions

from foreserve.operators import AwaitDataflowJob
from tests.beam_jobs.fake_dataflow import running

JOB_ID = "2026-01-01_00_00_00-1"


@pytest.fixture(scope="module")
def dataflow(tmp_path_factory):
    connection = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True}}
    with running(tmp_path_factory.mktemp("google")) as google, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(connection))
        patch.setattr(DataflowHook, "get_client_options", lambda _: ClientOptions(api_endpoint=google.url))
        yield google


@pytest.fixture
def poke(dataflow):
    """Looks once at a job that is as the test says."""

    def poke(state, metrics=(), messages=(), job_id=JOB_ID):
        dataflow.jobs[JOB_ID] = {"id": JOB_ID, "name": "export-m-1-0a1b2c3d", "currentState": state}
        dataflow.metrics, dataflow.messages = list(metrics), list(messages)
        sensor = AwaitDataflowJob(
            task_id="await_export",
            job_id=job_id,
            metrics="export",
            project="demo",
            region="europe-west1",
            gcp_conn_id="google_cloud_default",
        )
        return sensor.poke({})

    return poke


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
