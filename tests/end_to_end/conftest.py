"""One local stack with a real Airflow. Each test brings it into the state that it starts from, and mends what it broke.

For `model_view`, `newest` and `predictions`, the model has been refreshed at least once.
"""

import io
import json
import shutil
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from rich.console import Console

from local_stack import processes, sample_data, supervisor
from local_stack.airflow_client import AirflowClient
from local_stack.demo import DAG_ID, MODEL
from local_stack.settings import INSTANCE, PROJECT
from local_stack.stack import ROOT
from prediction_store.layout import Instance
from prediction_store.registry import Registry
from tests.end_to_end.mail import mail_server
from tests.waiting import wait_for

API_KEY = "fsk_a-key-that-tasks-send-to-the-service"
# For refreshes that are not about the latency: the pipelines' own smoke tests take ten seconds.
SHORT_SMOKE_TEST = {"smoke_test_requests": 100, "smoke_test_rate": 100, "smoke_test_objective_p99_ms": 1000}
CUSTOMERS = [f"{number:05}" for number in range(501, 1500)]


@pytest.fixture(scope="session")
def console():
    return Console(file=io.StringIO())


@pytest.fixture(scope="session")
def mailbox():
    with mail_server() as server:
        yield server


@pytest.fixture(scope="session")
def cautious(tmp_path_factory):
    """A folder of DAGs with a pipeline whose gate no candidate passes: it asks, and it reports failures and delays."""
    folder = tmp_path_factory.mktemp("dags")
    for name in ("refresh_factory", "shared"):
        (folder / name).symlink_to(ROOT / "dags" / name)
    shutil.copytree(ROOT / "dags" / "pipelines" / MODEL, folder / "cautious")
    path = folder / "cautious" / "pipeline.yaml"
    pipeline = yaml.safe_load(path.read_text())
    pipeline["model"] = "cautious"
    pipeline["quality_gate"] = {"metrics": {"roc_auc": {"minimum": 0.99}}, "on_breach": "ask"}
    mail = {"notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier"}
    to = {"from_email": "airflow@example.com", "to": "team@example.com"}
    failed = {"subject": "{{ ti.task_id }} of {{ dag.dag_id }} failed", "html_content": "{{ exception }}"}
    late = {"subject": "{{ dag_run.dag_run_id }} is late", "html_content": "{{ deadline.deadline_time }}"}
    pipeline["alerts"] = {
        "on_failure": [{**mail, "arguments": to | failed}],
        "on_missed_deadline": [{**mail, "arguments": to | late}],
        "deadline_minutes": 0.05,
    }
    path.write_text(yaml.safe_dump(pipeline))
    return folder


@pytest.fixture(scope="session")
def stack(tmp_path_factory, console, mailbox, cautious):
    """The stack, with the project's pipelines and the cautious one."""
    state = tmp_path_factory.mktemp("stack")
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    folders = {"project": ROOT / "dags", "test": cautious}
    bundles = [{"name": n, "classpath": bundle, "kwargs": {"path": str(path)}} for n, path in folders.items()]
    smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": mailbox.port}
    smtp["extra"] = {"disable_ssl": True, "disable_tls": True}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
        environment.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp))
        environment.setenv("FORESERVE_API_CONN_ID", "api_with_a_key")
        yield supervisor.up(console, "auto", state)
    supervisor.down(console, state)
    assert processes.running(state) == {}


@pytest.fixture(scope="session")
def mend(stack, console):
    """Starts the services of the stack that do not run."""
    return lambda: supervisor.up(console, "auto", stack.state)


@pytest.fixture
def stop_airflow(stack, mend):
    """Stops all processes of Airflow."""
    yield lambda: processes.stop(
        next(service for service in stack.services() if service.name == "airflow"), stack.state
    )
    mend()


@pytest.fixture(scope="session")
def warehouse(stack):
    """A client of the local BigQuery."""
    return sample_data.warehouse()


@pytest.fixture(scope="session")
def registry(stack):
    return Registry(Instance(PROJECT, INSTANCE))


@pytest.fixture(scope="session")
def api(stack):
    """A client of the lookup service."""
    with httpx.Client(base_url=stack.url("api"), timeout=10) as client:
        yield client


@pytest.fixture(scope="session")
def access_token(stack):
    return httpx.get(f"{stack.url('airflow')}/auth/token", timeout=30).raise_for_status().json()["access_token"]


@pytest.fixture(scope="session")
def rest(stack, access_token):
    """Calls Airflow's REST API, again while it is busy or starting; returns the answer."""
    with httpx.Client(base_url=stack.url("airflow"), timeout=30) as client:
        client.headers["Authorization"] = f"Bearer {access_token}"

        def call(method, path, **arguments):
            def answer():
                with suppress(httpx.TransportError):
                    response = client.request(method, f"/api/v2/{path}", **arguments)
                    return None if response.is_server_error else response

            return wait_for(answer).raise_for_status().json()

        yield call


@pytest.fixture(scope="session")
def api_with_a_key(stack, rest):
    """The connection by which tasks find the lookup service, with a key that they send there."""
    address = {"conn_type": "http", "host": "127.0.0.1", "port": stack.ports["api"], "password": API_KEY}
    rest("POST", "connections", json={"connection_id": "api_with_a_key", **address})


@pytest.fixture(scope="session")
def refreshes(stack, api, registry, api_with_a_key):
    """Airflow's refreshes of the stack, whether a test has triggered them or the first one was needed for others."""
    client = AirflowClient(stack.url("airflow"))
    client.wait_for_dag(DAG_ID)
    client.wait_for_dag("roll_back")
    return Refreshes(client, api, registry, stack.state / "airflow" / "logs")


@dataclass
class Refreshes:
    """Runs DAGs, and waits until the lookup service knows what they did."""

    airflow: AirflowClient
    api: httpx.Client
    registry: Registry
    logs: Path

    def run(self, dag_id=DAG_ID, **params):
        """Run a DAG to its end, with a short smoke test; the state of the run, and of each task."""
        short = SHORT_SMOKE_TEST if dag_id.startswith("refresh_") else {}
        final = self.finish(self.airflow.trigger(dag_id, short | params), dag_id)
        return final.state, {task.task_id: task.state for task in final.tasks}

    def finish(self, run_id, dag_id=DAG_ID):
        """Wait until a run has ended; its final state. Print the ends of the logs of tasks that failed."""
        *_, final = self.airflow.follow(dag_id, run_id)
        for task in final.tasks:
            if task.state == "failed":
                folder = self.logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task.task_id}"
                for log in folder.glob("*.log"):
                    sys.stdout.write(f"{log}:\n{log.read_text()[-3_000:]}\n")
        self.settle()
        return final

    def settle(self):
        """Wait until the lookup service has read the registry as it is now."""
        wait_for(lambda: self._served() == self._registered())

    def _registered(self):
        return {
            state.model: (
                state.active,
                {version: (record.status, dict(record.details)) for version, record in state.versions.items()},
            )
            for state in self.registry.models()
        }

    def _served(self):
        response = self.api.get("/v1/models")
        return response.is_success and {
            model["model"]: (
                model["active_version"],
                {version["version"]: (version["status"], version["details"]) for version in model["versions"]},
            )
            for model in response.json()["models"]
        }

    def model_view(self, name=MODEL):
        """The lookup service's answer about a model."""
        return self.api.get(f"/v1/models/{name}").raise_for_status().json()

    def predictions(self, version=None):
        """The predictions for some customers, of the active version or of another."""
        body = {"entity_ids": CUSTOMERS} | ({"version": version} if version else {})
        answer = self.api.post(f"/v1/models/{MODEL}/predictions:batchGet", json=body).raise_for_status().json()
        return answer["version"], answer["predictions"]


@pytest.fixture
def airflow(refreshes, rest):
    """A client of Airflow. Runs that the test leaves unfinished are marked as failed."""
    yield refreshes.airflow
    runs = rest("GET", "dags/~/dagRuns", params={"state": ["queued", "running"]})["dag_runs"]
    for run in runs:
        rest("PATCH", f"dags/{run['dag_id']}/dagRuns/{run['dag_run_id']}", json={"state": "failed"})
        refreshes.finish(run["dag_run_id"], run["dag_id"])


@pytest.fixture
def run(airflow, refreshes):
    """Runs a DAG to its end; returns the state of the run, and of each task."""
    return refreshes.run


@pytest.fixture
def finish(airflow, refreshes):
    """Waits until a run has ended, and returns its final state."""
    return refreshes.finish


@dataclass(frozen=True)
class FirstRefresh:
    """The first refresh of the stack: the states of its tasks, its version, and what was served and predicted then."""

    tasks: dict[str, str]
    version: dict[str, Any]
    active_version: int
    served: dict[str, Any]
    predicted: dict[str, Any]


@pytest.fixture(scope="session")
def first_refresh(refreshes, warehouse):
    """The refresh that makes the model's first version, with the pipeline's own smoke test."""
    final = refreshes.finish(refreshes.airflow.trigger(DAG_ID, {}))
    assert final.state == "success", final.tasks
    model_view = refreshes.model_view()
    (version,) = model_view["versions"]
    rows = warehouse.query_and_wait(
        f"SELECT * FROM `{version['details']['predictions_table']}` "
        f"WHERE entity_id BETWEEN '{CUSTOMERS[0]}' AND '{CUSTOMERS[-1]}'"
    )
    return FirstRefresh(
        {task.task_id: task.state for task in final.tasks},
        version,
        model_view["active_version"],
        refreshes.predictions()[1],
        {row.entity_id: json.loads(row.payload) for row in rows},
    )


@pytest.fixture
def model_view(first_refresh, refreshes):
    """Returns the lookup service's answer about the model."""
    return refreshes.model_view


@pytest.fixture
def newest(model_view):
    """Returns the registry's record of the model's newest version."""
    return lambda: max(model_view()["versions"], key=lambda version: version["version"])


@pytest.fixture
def predictions(first_refresh, refreshes):
    """Returns a version, and its predictions for some customers: the active version, or the one that is given."""
    return refreshes.predictions


@pytest.fixture
def rollback_target(model_view, run):
    """The newest version that the model can be rolled back to."""
    if not model_view()["rollback_targets"]:
        assert run()[0] == "success"
    return model_view()["rollback_targets"][0]


@pytest.fixture
def purchases(warehouse):
    """The table of the purchases, for tests that change it: it is as before when they end."""
    warehouse.query_and_wait("CREATE OR REPLACE TABLE shop.kept AS SELECT * FROM shop.transactions")
    yield "shop.transactions"
    warehouse.query_and_wait("CREATE OR REPLACE TABLE shop.transactions AS SELECT * FROM shop.kept")


@pytest.fixture
def kill(stack, mend):
    """Kills processes of the stack: `with kill(word, ..., when=condition) as killed`."""
    yield lambda *words, **options: killing(stack, words, **options)
    mend()


@contextmanager
def killing(stack, words, when=lambda _: True):
    """Kill, until the block ends, each process of the stack for which a condition holds.

    Args:
        stack: the stack.
        words: what the process's command line contains.
        when: the condition.

    Yields:
        The processes that were killed.
    """
    killed = []
    stop = threading.Event()

    def kill_all():
        while not stop.wait(0.1):
            for process in (process for found in processes.running(stack.state).values() for process in found):
                with suppress(psutil.NoSuchProcess):
                    if all(word in " ".join(process.cmdline()) for word in words) and when(process):
                        process.kill()
                        killed.append(process)

    thread = threading.Thread(target=kill_all)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()
