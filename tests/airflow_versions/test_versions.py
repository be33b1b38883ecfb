"""The same DAGs and plugins in every supported Airflow version, each in an environment of its own.

The files are those of a deployment: a folder with what Composer gets, found by Airflow's own path.

A refresh runs by `dag.test()`: Airflow's task runner, trigger rules, XComs, templates and the provider's triggers, in
one process, against the same BigQuery, Bigtable, registry and lookup service.
"""

import json
import os
import subprocess
import time

import httpx
import pytest

from local_stack import processes, sample_data
from local_stack.stack import ROOT, Stack, choose_ports
from tests.deployment.deployed_airflow import check, lay_out, load_dags
from tests.waiting import wait_for

MODEL = "repeat_purchase"
PIPELINE = f"dags/pipelines/{MODEL}/dag.py"
OF_THE_OPERATORS = {"google.cloud.bigquery", "google.cloud.storage", "googleapiclient", "grpc"}
OF_THE_OPERATORS |= {"httpx", "numpy", "pandas", "pyarrow"}  # imported by the two operators of the providers
VERSIONS = {"2.11": "airflow-2.11", "3.1": "airflow-3.1", "newest": "airflow"}


@pytest.fixture(scope="session")
def stack(tmp_path_factory):
    """The local stack without Airflow."""
    stack = Stack(ports=choose_ports(), state=tmp_path_factory.mktemp("stack"))
    services = [service for service in stack.services() if service.name != "airflow"]
    started = [(service, processes.start(service, stack.state)) for service in services]
    with pytest.MonkeyPatch.context() as environment:
        for name, value in stack.client_environment().items():
            environment.setenv(name, value)
        for service, process in started:
            processes.wait_until_ready(service, process, stack.state)
        sample_data.prepare()
        yield stack
    for service in services:
        processes.stop(service, stack.state)


@pytest.fixture(scope="session")
def gcs(tmp_path_factory):
    """The files of a deployment, where Composer puts them."""
    folder = tmp_path_factory.mktemp("gcs")
    lay_out(folder)
    return folder


@pytest.fixture(scope="session", params=VERSIONS)
def airflow_version(request, stack, gcs, tmp_path_factory):
    """Runs a script beside this file in an Airflow version, on a path in the deployed folder; returns its report."""
    (service,) = [service for service in stack.services() if service.name == "airflow"]
    binaries = ROOT / ".venvs" / VERSIONS[request.param] / "bin"
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **os.environ,
        **service.environment,
        "AIRFLOW_HOME": str(home),
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(gcs / "dags"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(gcs / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(gcs / "plugins"),
    }

    def run(*command):
        ended = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout[-5_000:] + ended.stderr[-5_000:]
        return ended.stdout

    def script(name, path, *arguments):
        output = run(binaries / "python", ROOT / "tests" / "airflow_versions" / name, gcs / path, *arguments)
        report = json.loads(output.splitlines()[-1])
        if report.get("state") == "failed":
            print(output[-20_000:])  # noqa: T201  pytest shows it if the test fails
        return report

    run(binaries / "airflow", "db", "migrate")
    return request.param, script


@pytest.fixture
def served(stack):
    """Returns the service's view of the model, once the service has read the registry anew."""

    def view():
        called = time.monotonic()
        wait_for(lambda: client.get("/readyz").json()["registry_age_seconds"] < time.monotonic() - called)
        return client.get(f"/v1/models/{MODEL}").raise_for_status().json()

    with httpx.Client(base_url=stack.url("api")) as client:
        yield view


def test_every_dag_loads_and_serialises_and_parsing_costs_little(airflow_version):
    version, script = airflow_version
    report = script("parse.py", "dags")
    print(f"\nAirflow {version}: " + ", ".join(f"{k} {v:.2f}" for k, v in report.items() if k.endswith("_seconds")))  # noqa: T201  the docs quote it
    assert report["errors"] == {}
    pipelines = {f"refresh_{path.parent.name}" for path in ROOT.glob("dags/pipelines/*/dag.py")}
    assert set(report["serialised"]) == pipelines
    assert set(report["loaded"]) == pipelines | {
        "abort_version",
        "outcomes_repeat_purchase",
        "release_run",
        "roll_back",
    }
    assert report["heavy"]["ours"] == []
    assert set(report["heavy"]["operators"]) <= OF_THE_OPERATORS
    assert report["lookups"] == []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_deployed_is_all_that_it_needs(version, gcs, tmp_path):
    python = ROOT / ".venvs" / VERSIONS[version] / "bin" / "python"
    report = load_dags(python, gcs, tmp_path, gcs / "plugins", "plugins first")
    check(report, gcs)
    assert report["plugins"] == ["foreserve"]


def test_the_navigation_leads_to_the_page_of_the_service(airflow_version, stack):
    version, script = airflow_version
    if not version.startswith("2."):
        pytest.skip("Airflow 3 has a page of its own, which tests/browser opens")
    report = script("navigation.py", "dags")
    assert report["anonymous"].startswith("/login/")
    assert (report["signed_in"], report["entry"]) == (f"{stack.url('api')}/", True)


def test_a_refresh_and_the_next_one(airflow_version, served):
    _, script = airflow_version
    first = script("refresh.py", PIPELINE, "{}")
    assert (first["state"], first["tasks"]["abort"]) == ("success", "skipped")
    assert all(state in ("success", "skipped") for state in first["tasks"].values())
    before = served()["active_version"]
    sample_data.next_week(sample_data.warehouse())
    second = script("refresh.py", PIPELINE, json.dumps({"retrain": False}))
    assert (second["state"], second["tasks"]["train"]) == ("success", "skipped")
    record = max(served()["versions"], key=lambda version: version["version"])
    assert served()["active_version"] == record["version"] > before


def test_the_lease_of_a_run_that_has_ended_does_not_matter_and_what_it_wrote_is_purged(airflow_version, served):
    _, script = airflow_version
    before = served()["active_version"]
    unpromoted = script("refresh.py", PIPELINE, json.dumps({"retrain": False, "promote": False, "export": "full"}))
    assert (unpromoted["state"], unpromoted["tasks"]["promote"]) == ("success", "skipped")
    assert served()["active_version"] == before
    following = script("refresh.py", PIPELINE, json.dumps({"retrain": False}))
    assert (following["state"], following["tasks"]["purge"]) == ("success", "success")
    assert served()["active_version"] > before


def test_a_refresh_that_fails_leaves_readers_where_they_were(airflow_version, served):
    _, script = airflow_version
    before = served()["active_version"]
    warehouse = sample_data.warehouse()
    warehouse.query_and_wait("CREATE OR REPLACE TABLE shop.kept AS SELECT * FROM shop.transactions")
    warehouse.query_and_wait("DELETE FROM shop.transactions WHERE customer_id >= '10000'")
    try:
        report = script("refresh.py", PIPELINE, json.dumps({"retrain": False}))
    finally:
        warehouse.query_and_wait("CREATE OR REPLACE TABLE shop.transactions AS SELECT * FROM shop.kept")
    tasks = report["tasks"]
    assert (report["state"], tasks["prediction_gate"], tasks["abort"]) == ("failed", "failed", "success")
    assert served()["active_version"] == before
