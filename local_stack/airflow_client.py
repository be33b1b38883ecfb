"""Trigger a DAG by Airflow's REST API, and follow its run."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

_FINAL = frozenset({"success", "failed"})
_DAG_SECONDS = 120.0
_POLL_SECONDS = 0.5


class AirflowError(Exception):
    """Airflow does not answer, does not have the DAG, or refuses to trigger it."""


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task of a run. `seconds` is its duration so far, or None if it has not started."""

    task_id: str
    state: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class RunState:
    """A run of a DAG, with its tasks in the order in which they started."""

    state: str
    tasks: list[TaskState]

    @property
    def is_final(self) -> bool:
        """True if the run has ended."""
        return self.state in _FINAL


class AirflowClient:
    """A client of an Airflow without a login."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=30)

    def wait_for_dag(self, dag_id: str) -> None:
        """Wait until a DAG has been parsed and can be triggered.

        Raises:
            AirflowError: a file that is no other pipeline's has an import error, or no DAG appeared in two minutes.
        """
        token = self._request("GET", "/auth/token").json()["access_token"]
        self._http.headers["Authorization"] = f"Bearer {token}"
        deadline = time.monotonic() + _DAG_SECONDS
        while self._request("GET", f"/api/v2/dags/{dag_id}", allowed=httpx.codes.NOT_FOUND).is_error:
            name = dag_id.removeprefix("refresh_")
            for error in self._get("/api/v2/importErrors")["import_errors"]:
                is_anothers = "pipelines/" in error["filename"] and f"/{name}/" not in error["filename"]
                if not is_anothers:
                    raise AirflowError(f"{error['filename']}:\n{error['stack_trace']}")
            if time.monotonic() >= deadline:
                raise AirflowError(
                    f"no DAG {dag_id} after {_DAG_SECONDS:g} s; see Airflow's log, which make status names"
                )
            time.sleep(_POLL_SECONDS)

    def trigger(self, dag_id: str, params: dict[str, Any]) -> str:
        """Start a run; return its id. Raise AirflowError if Airflow refuses."""
        response = self._http.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": params})
        if not response.is_success:
            raise AirflowError(f"cannot trigger {dag_id}: HTTP {response.status_code} {response.text}")
        run_id: str = response.json()["dag_run_id"]
        return run_id

    def follow(self, dag_id: str, run_id: str) -> Iterator[RunState]:
        """Yield the state of a run twice a second until the run has ended."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}"
        while True:
            run = self._get(path)
            tasks = self._get(f"{path}/taskInstances", limit=100)["task_instances"]
            tasks.sort(key=lambda task: (task["start_date"] is None, task["start_date"] or "", task["task_id"]))
            state = RunState(run["state"], [_task_state(task) for task in tasks])
            yield state
            if state.is_final:
                return
            time.sleep(_POLL_SECONDS)

    def failure(self, dag_id: str, run_id: str, task_id: str) -> str:
        """Return the first sentence of the error with which a task failed, as the tasks of refreshes keep it."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/failure"
        response = self._http.get(path)
        return str(response.json()["value"]) if response.is_success else "see its log in Airflow"

    def _get(self, path: str, **params: Any) -> Any:
        return self._request("GET", path, params=params).json()

    def _request(self, method: str, path: str, allowed: int = httpx.codes.OK, **kwargs: Any) -> httpx.Response:
        """Send a request. Repeat it for two minutes while Airflow is starting or busy.

        Args:
            method: the method.
            path: the path.
            allowed: a status that is accepted beside those of success.
            kwargs: further arguments of httpx.
        """
        deadline = time.monotonic() + _DAG_SECONDS
        while True:
            try:
                response = self._http.request(method, path, **kwargs)
                if response.is_success or response.status_code == allowed:
                    return response
                problem = f"HTTP {response.status_code} {response.text[:200]}"
            except httpx.TransportError as error:
                problem = f"{type(error).__name__} {error}"
            if time.monotonic() >= deadline:
                raise AirflowError(f"{path}: {problem}")
            time.sleep(_POLL_SECONDS)


def _task_state(task: dict[str, Any]) -> TaskState:
    seconds = None
    if task["start_date"] is not None:
        start = datetime.fromisoformat(task["start_date"])
        end = datetime.fromisoformat(task["end_date"]) if task["end_date"] else datetime.now(tz=start.tzinfo)
        seconds = (end - start).total_seconds()
    return TaskState(task["task_id"], task["state"] or "waiting", seconds)
