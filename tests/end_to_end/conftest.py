"""The whole local stack, in a state folder of its own, for refreshes through a real Airflow."""

import io
import json
import shutil
import threading
import time
from contextlib import suppress

import httpx
import psutil
import pytest
import yaml
from rich.console import Console

from local_stack import processes, sample_data, supervisor
from local_stack.airflow_client import AirflowClient
from local_stack.demo import DAG_ID, MODEL
from local_stack.stack import ROOT
from tests.end_to_end.mail import mail_server


@pytest.fixture(scope="session")
def console():
    return Console(file=io.StringIO())


@pytest.fixture(scope="session")
def mailbox():
    with mail_server() as server:
        yield server


@pytest.fixture(scope="session")
def cautious(tmp_path_factory):
    """A folder of DAGs with a pipeline whose gate no model passes: it asks; and it tells of failures and delays."""
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
    state = tmp_path_factory.mktemp("stack")
    bundle = "airflow.dag_processing.bundles.local.LocalDagBundle"
    folders = {"project": ROOT / "dags", "test": cautious}
    bundles = [{"name": n, "classpath": bundle, "kwargs": {"path": str(path)}} for n, path in folders.items()]
    smtp = {"conn_type": "smtp", "host": "127.0.0.1", "port": mailbox.port}
    smtp["extra"] = {"disable_ssl": True, "disable_tls": True}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(bundles))
        environment.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp))
        yield supervisor.up(console, "auto", state)
    supervisor.down(console, state)
    assert processes.running(state) == {}


@pytest.fixture(scope="session")
def warehouse(stack):
    return sample_data.warehouse()


@pytest.fixture(scope="session")
def airflow(stack, warehouse):
    client = AirflowClient(stack.url("airflow"))
    client.wait_for_dag(DAG_ID)
    client.wait_for_dag("roll_back")
    return client


@pytest.fixture
def api(stack):
    with httpx.Client(base_url=stack.url("api"), timeout=10) as client:
        yield client


@pytest.fixture
def run(airflow):
    """Runs a DAG to its end; the state of the run, and of each task."""

    def run(dag_id=DAG_ID, **params):
        run_id = airflow.trigger(dag_id, params)
        *_, final = airflow.follow(dag_id, run_id)
        time.sleep(2)  # the lookup service asks the registry every second
        return final.state, {task.task_id: task.state for task in final.tasks}

    return run


@pytest.fixture
def model(api):
    """What the lookup service says of the model."""
    return lambda: api.get(f"/v1/models/{MODEL}").raise_for_status().json()


@pytest.fixture
def newest(model):
    """The registry's record of the newest version."""
    return lambda: max(model()["versions"], key=lambda version: version["version"])


@pytest.fixture
def predictions(api):
    """What the service predicts for some customers, at the active version or at another."""

    def predictions(version=None):
        ids = [f"{number:05}" for number in range(501, 1500)]
        body = {"entity_ids": ids} | ({"version": version} if version else {})
        answer = api.post(f"/v1/models/{MODEL}/predictions:batchGet", json=body).raise_for_status().json()
        return answer["version"], answer["predictions"]

    return predictions


@pytest.fixture
def killing(stack):
    """Kills every process of the stack whose command line has `words`, as long as the block lasts."""

    class Killing:
        def __init__(self, *words, after=5):
            self.words = words
            self.after = after
            self.killed = 0
            self._stop = threading.Event()
            self._thread = threading.Thread(target=self._kill)

        def __enter__(self):
            self._thread.start()
            return self

        def __exit__(self, *_):
            self._stop.set()
            self._thread.join()

        def _kill(self):
            while not self._stop.is_set():
                for found in processes.running(stack.state).values():
                    for process in found:
                        with suppress(psutil.NoSuchProcess):
                            if all(word in " ".join(process.cmdline()) for word in self.words):
                                time.sleep(self.after)  # in the middle of its work, not before it
                                process.kill()
                                self.killed += 1
                time.sleep(0.2)

    return Killing
