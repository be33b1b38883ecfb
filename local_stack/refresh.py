"""One whole refresh of a model through Airflow, and lookups of its predictions."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table

from local_stack import sample_data
from local_stack.airflow_client import AirflowClient, RunState
from local_stack.stack import Stack

_REGISTRY_POLL_SECONDS = 2  # the service reads the registry every second
_STYLES = {"success": "green", "failed": "red", "upstream_failed": "red", "running": "cyan", "deferred": "cyan"}


@dataclass(frozen=True, slots=True)
class Lookup:
    """One answer of the lookup service, and its latency in milliseconds."""

    url: str
    answer: dict[str, Any]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """The result of a refresh.

    Attributes:
        model: the model's name.
        run: the DAG run.
        record: the registry's record of the version that the refresh opened, or None if it opened none.
        active: the active version after the refresh, or None.
        lookups: lookups of the active version.
        failure: the reason why the run failed; None if it did not.
    """

    model: str
    run: RunState
    record: dict[str, Any] | None
    active: int | None
    lookups: list[Lookup]
    failure: str | None


def run_refresh(
    stack: Stack, console: Console, model: str, params: dict[str, Any], entity_ids: Sequence[str] = ()
) -> RefreshResult:
    """Run the refresh DAG of a model, and look entities up.

    Args:
        stack: a running stack.
        console: shows the progress.
        model: the model's name.
        params: the parameters of the DAG run.
        entity_ids: the entities to look up; none: the first three of the active version.

    Raises:
        AirflowError: Airflow does not answer, does not have the DAG, or refuses the run.
    """
    airflow, dag_id = AirflowClient(stack.url("airflow")), f"refresh_{model}"
    with console.status("waiting for Airflow to parse the DAG"):
        airflow.wait_for_dag(dag_id)
    with httpx.Client(base_url=stack.url("api"), timeout=10) as api:
        known = {version["version"] for version in _model(api, model)["versions"]}
        run_id = airflow.trigger(dag_id, params)
        url = f"{stack.url('airflow')}/dags/{dag_id}/runs/{run_id}"
        console.print(f"[green]✓[/] {dag_id} triggered: {url}", soft_wrap=True)
        run = _watch(airflow, dag_id, run_id, console)
        time.sleep(_REGISTRY_POLL_SECONDS)
        found = _model(api, model)
        opened = [version for version in found["versions"] if version["version"] not in known]
        record = opened[-1] if opened else None
        ids = entity_ids or _some_ids(found)
        lookups = [_lookup(api, model, entity_id) for entity_id in ids] if found["active_version"] else []
    failure = None if run.state == "success" else _failure(airflow, dag_id, run_id, run, record)
    return RefreshResult(model, run, record, found["active_version"], lookups, failure)


def task_table(run: RunState, dag_id: str) -> Table:
    """Return a table of the tasks of a run, with their states and durations."""
    table = Table("Task", "State", "Seconds", title=f"{dag_id}: {run.state}")
    table.columns[2].justify = "right"
    for task in run.tasks:
        table.add_row(task.task_id, task.state, _seconds(task.seconds), style=_STYLES.get(task.state, "dim"))
    return table


def _model(api: httpx.Client, model: str) -> dict[str, Any]:
    """Return the service's answer about the model. A model that is not registered yet has no versions."""
    response = api.get(f"/v1/models/{model}")
    if response.status_code == httpx.codes.NOT_FOUND:
        return {"versions": [], "active_version": None}
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


def _watch(airflow: AirflowClient, dag_id: str, run_id: str, console: Console) -> RunState:
    """Follow a run until it has ended: with a live table on a terminal, else with one line for each task that ends."""
    states = airflow.follow(dag_id, run_id)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            for state in states:
                live.update(task_table(state, dag_id))
        return state
    done: set[str] = set()
    for state in states:
        for task in state.tasks:
            if task.state in ("success", "failed", "skipped") and task.task_id not in done:
                done.add(task.task_id)
                console.print(f"  {task.task_id}: {task.state} {_seconds(task.seconds)}")
    return state


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def _failure(airflow: AirflowClient, dag_id: str, run_id: str, run: RunState, record: dict[str, Any] | None) -> str:
    """Return the reason why a run failed, as its version or the first failed task has it."""
    ended = record and record["details"].get("ended")
    if ended:
        return f"{ended['task']}: {ended['reason']}" if ended["task"] else ended["reason"]
    failed = [task.task_id for task in run.tasks if task.state == "failed"]
    reasons = [f"{task}: {airflow.failure(dag_id, run_id, task)}" for task in failed]
    return "; ".join(reasons) or "its tasks did not run; see the run in Airflow"


def _some_ids(model: dict[str, Any]) -> list[str]:
    """Return three entity ids of the active version, from its table in BigQuery."""
    active = [version for version in model["versions"] if version["version"] == model["active_version"]]
    table = active[0]["details"].get("predictions_table") if active else None
    if table is None:
        return []
    sql = f"SELECT entity_id FROM `{table}` ORDER BY entity_id LIMIT 3"
    return [row.entity_id for row in sample_data.warehouse().query_and_wait(sql)]


def _lookup(api: httpx.Client, model: str, entity_id: str) -> Lookup:
    path = f"/v1/models/{model}/predictions/{quote(entity_id, safe='')}"
    start = time.perf_counter()
    response = api.get(path)
    return Lookup(str(response.url), response.json(), (time.perf_counter() - start) * 1000)
