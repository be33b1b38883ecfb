"""One whole refresh, through Airflow, and look-ups of what it predicted."""

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
"""Customers who bought once, six times and 44 times."""

_STYLES = {"success": "green", "failed": "red", "upstream_failed": "red", "running": "cyan", "deferred": "cyan"}


@dataclass(frozen=True, slots=True)
class LookUp:
    """One answer of the look-up service, and how long it took in milliseconds."""

    path: str
    answer: dict[str, Any]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is to report of a refresh."""

    run: RunState
    model: dict[str, Any]
    look_ups: list[LookUp]

    @property
    def record(self) -> dict[str, Any]:
        """The newest version that the registry has."""
        newest: dict[str, Any] = max(self.model["versions"], key=lambda version: version["version"])
        return newest


def refresh(stack: Stack, console: Console, params: dict[str, Any]) -> Outcome:
    """Load a week of purchases, run the refresh DAG, and look customers up.

    Args:
        stack: a stack that is up.
        console: where to show progress.
        params: of the DAG run.
    """
    with console.status("loading another week of purchases"):
        arrival = sample_data.next_week(sample_data.warehouse())
    console.print(f"[green]✓[/] {arrival}")
    airflow = AirflowClient(stack.url("airflow"))
    with console.status("waiting for Airflow to parse the DAG"):
        airflow.wait_for_dag(DAG_ID)
    run_id = airflow.trigger(DAG_ID, params)
    console.print(f"[green]✓[/] {DAG_ID} triggered: {stack.url('airflow')}/dags/{DAG_ID}/runs/{run_id}")
    run = _watch(airflow, run_id, console)
    with httpx.Client(base_url=stack.url("api"), timeout=10) as api:
        model = api.get(f"/v1/models/{MODEL}").raise_for_status().json()
        look_ups = [_look_up(api, customer) for customer in CUSTOMERS] if model["active_version"] else []
    return Outcome(run, model, look_ups)


def _watch(airflow: AirflowClient, run_id: str, console: Console) -> RunState:
    """Follow a run: a table that is kept up to date on a terminal, else a line when a task is done."""
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
    """The tasks of a run, with their states and durations."""
    table = Table("Task", "State", "Seconds", title=f"{DAG_ID}: {run.state}")
    table.columns[2].justify = "right"
    for task in run.tasks:
        table.add_row(task.task_id, task.state, _seconds(task.seconds), style=_STYLES.get(task.state, "dim"))
    return table


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f}"


def _look_up(api: httpx.Client, customer: str) -> LookUp:
    path = f"/v1/models/{MODEL}/predictions/{customer}"
    start = time.perf_counter()
    response = api.get(path)
    return LookUp(path, response.json(), (time.perf_counter() - start) * 1000)
