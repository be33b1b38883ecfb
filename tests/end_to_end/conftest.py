"""The whole local stack, in a state folder of its own, for refreshes through a real Airflow."""

import io
import threading
import time
from contextlib import suppress

import httpx
import psutil
import pytest
from rich.console import Console

from local_stack import processes, sample_data, supervisor
from local_stack.airflow_client import AirflowClient
from local_stack.demo import DAG_ID, MODEL


@pytest.fixture(scope="session")
def console():
    return Console(file=io.StringIO())


@pytest.fixture(scope="session")
def stack(tmp_path_factory, console):
    state = tmp_path_factory.mktemp("stack")
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
        time.sleep(2)  # the look-up service asks the registry every second
        return final.state, {task.task_id: task.state for task in final.tasks}

    return run


@pytest.fixture
def model(api):
    """What the look-up service says of the model."""
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
