"""One whole refresh through Airflow, and lookups of its predictions."""

import time
from dataclasses import dataclass
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live
from rich.table import Table

from local_stack import sample_data
from local_stack.airflow_client import AirflowClient, RunState
from local_stack.stack import Stack

MODEL = "repeat_purchase"
DAG_ID = f"refresh_{MODEL}"
CUSTOMERS = ("00001", "00003", "00499")
"""Three customers, who bought once, six times and 44 times."""

_REGISTRY_POLL_SECONDS = 2  # the service reads the registry every second
_STYLES = {"success": "green", "failed": "red", "upstream_failed": "red", "running": "cyan", "deferred": "cyan"}


@dataclass(frozen=True, slots=True)
class Lookup:
    """One answer of the lookup service, and its latency in milliseconds."""

    path: str
    answer: dict[str, Any]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class RefreshResult:
    """The result of a refresh.

    Attributes:
        run: the DAG run.
        record: the registry's record of the version that the refresh opened, or None if it opened none.
        active: the active version after the refresh, or None.
        lookups: lookups of the active version.
    """

    run: RunState
    record: dict[str, Any] | None
    active: int | None
    lookups: list[Lookup]


def refresh(stack: Stack, console: Console, params: dict[str, Any]) -> RefreshResult:
    """Load a week of purchases, run the refresh DAG, and look customers up.

    Args:
        stack: a running stack.
        console: shows the progress.
        params: the parameters of the DAG run.

    Raises:
        AirflowError: Airflow does not answer, or refuses the run.
    """
    with console.status("loading another week of purchases"):
        arrival = sample_data.next_week(sample_data.warehouse())
    console.print(f"[green]✓[/] {arrival}")
    airflow = AirflowClient(stack.url("airflow"))
    with console.status("waiting for Airflow to parse the DAG"):
        airflow.wait_for_dag(DAG_ID)
    with httpx.Client(base_url=stack.url("api"), timeout=10) as api:
        known = {version["version"] for version in _model(api)["versions"]}
        run_id = airflow.trigger(DAG_ID, params)
        url = f"{stack.url('airflow')}/dags/{DAG_ID}/runs/{run_id}"
        console.print(f"[green]✓[/] {DAG_ID} triggered: {url}", soft_wrap=True)
        run = _watch(airflow, run_id, console)
        time.sleep(_REGISTRY_POLL_SECONDS)
        model = _model(api)
        opened = [version for version in model["versions"] if version["version"] not in known]
        active = model["active_version"]
        lookups = [_lookup(api, customer) for customer in CUSTOMERS] if active else []
    return RefreshResult(run, opened[-1] if opened else None, active, lookups)


def _model(api: httpx.Client) -> dict[str, Any]:
    """Return the service's answer about the model. A model that is not registered yet has no versions."""
    response = api.get(f"/v1/models/{MODEL}")
    if response.status_code == httpx.codes.NOT_FOUND:
        return {"versions": [], "active_version": None}
    answer: dict[str, Any] = response.raise_for_status().json()
    return answer


def _watch(airflow: AirflowClient, run_id: str, console: Console) -> RunState:
    """Follow a run until it has ended: with a live table on a terminal, else with one line for each task that ends."""
    states = airflow.follow(DAG_ID, run_id)
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4) as live:
            for state in states:
                live.update(task_table(state))
        return state
    done: set[str] = set()
    for state in states:
        for task in state.tasks:
            if task.state in ("success", "failed", "skipped") and task.task_id not in done:
                done.add(task.task_id)
                console.print(f"  {task.task_id}: {task.state} {_seconds(task.seconds)}")
    return state


def task_table(run: RunState) -> Table:
    """Return a table of the tasks of a run, with their states and durations."""
    table = Table("Task", "State", "Seconds", title=f"{DAG_ID}: {run.state}")
    table.columns[2].justify = "right"
    for task in run.tasks:
        table.add_row(task.task_id, task.state, _seconds(task.seconds), style=_STYLES.get(task.state, "dim"))
    return table


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def _lookup(api: httpx.Client, customer: str) -> Lookup:
    path = f"/v1/models/{MODEL}/predictions/{customer}"
    start = time.perf_counter()
    response = api.get(path)
    return Lookup(path, response.json(), (time.perf_counter() - start) * 1000)
