"""Start, find and stop the stack as a whole."""

import json
import os
import shutil
from pathlib import Path

from rich.console import Console

from local_stack import processes, sample_data
from local_stack.stack import DEFAULT_PORTS, Service, Stack, choose_ports

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
    if stack is None:
        _clear(Stack(ports=DEFAULT_PORTS, state=state))
        stack = Stack(ports=choose_ports(), bigtable=bigtable, state=state)
        _remember(stack)
    elif _STORES - processes.running(state).keys():
        # A store that is started again is empty. The other services know its old data, so they start anew too.
        _clear(stack)
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
    except BaseException:  # Ctrl-C too
        console.print("stopping the services that were started")
        for service in missing:
            processes.stop(service, state)
        raise
    return stack


def down(console: Console, state: Path) -> None:
    """Stop every process of the stack. Its tables, models and runs are lost."""
    with console.status("stopping"):
        stopped = _clear(find(state) or Stack(ports=DEFAULT_PORTS, state=state))
    console.print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running", soft_wrap=True)


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
    started = [(service, processes.start(service, stack.state)) for service in services]
    with console.status("starting") as status:
        for service, process in started:
            status.update(f"starting {service.title}")
            processes.wait_until_ready(service, process, stack.state)
            console.print(f"[green]✓[/] {service.title} at 127.0.0.1:{service.port}")
            if service.name == "bigquery":  # Bigtable is ready before BigQuery
                console.print(f"[green]✓[/] {sample_data.prepare()}")


def _clear(stack: Stack) -> list[str]:
    """Stop every process of a stack. Delete Airflow's files, because the next Airflow would resume the old runs.

    Returns:
        The titles of the services that were stopped.
    """
    stopped = [service.title for service in reversed(stack.services()) if processes.stop(service, stack.state)]
    _record_file(stack.state).unlink(missing_ok=True)
    shutil.rmtree(stack.state / "airflow", ignore_errors=True)
    return stopped


def _record_file(state: Path) -> Path:
    return state / "stack.json"


def _remember(stack: Stack) -> None:
    stack.state.mkdir(parents=True, exist_ok=True)
    _record_file(stack.state).write_text(json.dumps({"ports": stack.ports, "bigtable": stack.bigtable}))
