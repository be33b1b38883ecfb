"""Start, find and stop the stack as a whole. What its stores and Airflow have stays in the state folder."""

import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from local_stack import processes, sample_data
from local_stack.settings import DATASET, INSTANCE, PROJECT
from local_stack.stack import DEFAULT_PORTS, Service, Stack, choose_ports
from prediction_store.layout import Instance
from prediction_store.registry import Registry

_STORES = {"bigtable", "bigquery"}
_TITLES = {
    "api": "Lookup service",
    "airflow": "Airflow",
    "reports": "Latency reports",
    "bigquery": "BigQuery with BigQuery ML (REST)",
    "bigquery_storage": "BigQuery Storage Read API",
    "bigtable": "Bigtable",
}


def find(state: Path) -> Stack | None:
    """Return the stack with this state folder if any of its services is running, else None."""
    file = _record_file(state)
    if not file.exists() or not processes.running(state):
        return None
    fields = json.loads(file.read_text())
    return Stack(ports=fields["ports"], bigtable=fields["bigtable"], state=state)


def up(console: Console, bigtable: str, state: Path) -> Stack:
    """Start the services of the stack that are not running.

    Args:
        console: shows the progress.
        bigtable: the implementation for a new stack, as in `Stack`. A running stack keeps its own.
        state: the state folder, as in `Stack`.

    Returns:
        The stack. This process and its children find its BigQuery and Bigtable by their environment.

    Raises:
        StartError: a service did not start. The services that this call started are stopped again.
    """
    stack = find(state)
    if stack is None or _STORES - processes.running(state).keys():
        # The other services know data of a lost store that its successor may not have, so they start anew too.
        if _record_file(state).exists():
            console.print(
                f"[yellow]the stack was not stopped by make down: Bigtable has what it had {_kept_since(state)}"
            )
        _stop(stack or Stack(ports=DEFAULT_PORTS, state=state))
        stack = stack or Stack(ports=choose_ports(), bigtable=bigtable, state=state)
        _remember(stack)
    for name, port in stack.ports.items():
        if port != DEFAULT_PORTS[name]:
            console.print(f"[yellow]port {DEFAULT_PORTS[name]} is taken: {name} uses {port}")
    os.environ.update(stack.client_environment())
    running = processes.running(state)
    missing = [service for service in stack.services() if service.name not in running]
    if not missing:
        console.print("the stack is running already")
    try:
        _start(missing, stack, console)
        if {"bigtable", "airflow"} <= {service.name for service in missing}:
            console.print(f"[green]✓[/] {_found(stack)}", soft_wrap=True)
    except BaseException:  # Ctrl-C too
        console.print("stopping the services that were started")
        for service in missing:
            processes.stop(service, state)
        if not processes.running(state):
            _record_file(state).unlink()
        raise
    return stack


def down(console: Console, state: Path) -> None:
    """Stop every process of the stack. Its data stay in the state folder."""
    began = time.time()
    with console.status("stopping; Bigtable writes its tables to a file"):
        stopped = _stop(find(state) or Stack(ports=DEFAULT_PORTS, state=state))
    console.print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running", soft_wrap=True)
    file = state / "bigtable"
    if stopped and not (file.exists() and file.stat().st_mtime >= began):
        console.print(f"[yellow]Bigtable had ended before: it keeps what it had {_kept_since(state)}", soft_wrap=True)
    if size := _size(state):
        console.print(f"kept: tables, BigQuery models, versions and runs, {size} in {state}", soft_wrap=True)


def forget(console: Console, state: Path) -> None:
    """Stop the stack, and delete its data."""
    with console.status("stopping"):
        _stop(find(state) or Stack(ports=DEFAULT_PORTS, state=state))
    size = _size(state)
    shutil.rmtree(state, ignore_errors=True)
    console.print(
        f"forgotten: tables, BigQuery models, versions, runs, logs and reports, {size}"
        if size
        else "nothing to forget",
        soft_wrap=True,
    )


def show(console: Console, stack: Stack) -> None:
    """Print the address of each service that is running, and the log folder."""
    running = processes.running(stack.state)
    for name, title in _TITLES.items():
        is_http = name in ("api", "airflow", "reports", "bigquery")
        address = stack.url(name) if is_http else f"127.0.0.1:{stack.ports[name]}"
        service = "bigquery" if name == "bigquery_storage" else name
        console.print(f"  {title:<34}{address if service in running else 'not running; make up starts it'}")
    console.print(f"  {'Logs':<34}{stack.state / 'logs'}")


def _start(services: list[Service], stack: Stack, console: Console) -> None:
    """Start services; wait until each is ready. Prepare the stores as soon as both are ready."""
    began = time.monotonic()
    started = [(service, processes.start(service, stack.state)) for service in services]
    elapsed = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*elapsed, console=console, transient=True) as progress:  # a terminal's alone
        task = progress.add_task("")
        for service, process in started:
            progress.update(task, description=f"starting {service.title}")
            processes.wait_until_ready(service, process, stack.state)
            seconds = time.monotonic() - began
            console.print(f"[green]✓[/] {service.title} at 127.0.0.1:{service.port} after {seconds:.0f} s")
            if service.name == "bigquery":  # Bigtable is ready before BigQuery
                console.print(f"[green]✓[/] {sample_data.prepare()}")


def _stop(stack: Stack) -> list[str]:
    """Stop every process of a stack; return the titles of the services that were stopped."""
    stopped = [service.title for service in reversed(stack.services()) if processes.stop(service, stack.state)]
    _record_file(stack.state).unlink(missing_ok=True)
    return stopped


def _found(stack: Stack) -> str:
    """Return a sentence about the models that the stack started with."""
    models = list(Registry(Instance(PROJECT, INSTANCE)).models())
    if not models:
        return "no models yet"
    each = (f"{state.model} (active version {state.active or 'none'} of {len(state.versions)})" for state in models)
    return f"found in {stack.state}: {', '.join(each)}"


def _kept_since(state: Path) -> str:
    file = state / "bigtable"
    if not file.exists():
        return "at the first start: nothing"
    return f"on {datetime.fromtimestamp(file.stat().st_mtime, UTC):%F at %H:%M:%S} UTC"


def _size(state: Path) -> str:
    """Return the size of the stack's files as text; an empty text if there are none."""
    size = sum(file.lstat().st_size for file in state.rglob("*") if not file.is_dir())
    return f"{size / 1e6:,.0f} MB" if size else ""


def _record_file(state: Path) -> Path:
    return state / "stack.json"


def _remember(stack: Stack) -> None:
    """Write the record by which commands find the stack; `use_local_stack` reads its `environment`."""
    stack.state.mkdir(parents=True, exist_ok=True)
    environment = stack.client_environment() | {
        "FORESERVE_PROJECT": PROJECT,
        "FORESERVE_BIGTABLE_INSTANCE": INSTANCE,
        "FORESERVE_DATASET": DATASET,
    }
    record = {"ports": stack.ports, "bigtable": stack.bigtable, "environment": environment}
    _record_file(stack.state).write_text(json.dumps(record))
