"""The stack as a whole: started, found again, stopped."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from local_stack import processes
from local_stack.prepare import prepare
from local_stack.stack import DEFAULT_PORTS, Service, Stack, choose_ports

_TITLES = {
    "api": "Lookup service",
    "airflow": "Airflow",
    "reports": "Latency reports",
    "bigquery": "BigQuery with BigQuery ML (REST)",
    "bigquery_storage": "BigQuery Storage Read API",
    "bigtable": "Bigtable",
}


def find(state: Path) -> Stack | None:
    """The stack that was started with this state folder and is still running, if only in part."""
    record = _record(state)
    if not record.exists() or not processes.running(state):
        return None
    fields = json.loads(record.read_text())
    return Stack(ports=fields["ports"], bigtable=fields["bigtable"], state=state)


def up(console: Console, bigtable: str, state: Path) -> Stack:
    """Start the stack, or what is missing of it.

    Args:
        console: where to show progress.
        bigtable: `cbtemulator`, `embedded`, or `auto`: the former where it is installed.
        state: folder for logs, process records and Airflow's files.

    Raises:
        StartError: a service did not start; what was started is stopped again.
    """
    stack = find(state)
    if stack is None:
        _clear(Stack(ports=DEFAULT_PORTS, state=state))
        stack = Stack(ports=choose_ports(), bigtable=bigtable, state=state)
        _remember(stack)
    for name, port in stack.ports.items():
        if port != DEFAULT_PORTS[name]:
            console.print(f"[yellow]port {DEFAULT_PORTS[name]} is taken: {name} uses {port}")
    os.environ.update(stack.client_environment())
    missing = _missing(stack)
    if not missing:
        console.print("everything is running already")
    try:
        _start(missing, stack, console)
    except BaseException:  # Ctrl-C too
        console.print("stopping what was started")
        for service in missing:
            processes.stop(service, state)
        raise
    return stack


def down(console: Console, state: Path) -> None:
    """Stop every process of the stack; what was in it is gone."""
    with console.status("stopping"):
        stopped = _clear(find(state) or Stack(ports=DEFAULT_PORTS, state=state))
    console.print(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def show(console: Console, stack: Stack) -> None:
    """Say where everything listens."""
    for name, title in _TITLES.items():
        is_http = name in ("api", "airflow", "reports", "bigquery")
        address = stack.url(name) if is_http else f"127.0.0.1:{stack.ports[name]}"
        console.print(f"  {title:<34}{address}")
    console.print(f"  {'Logs':<34}{stack.state / 'logs'}")


def _missing(stack: Stack) -> list[Service]:
    """The services that are not running. Without one of its stores the rest is of no use: then all of them."""
    running = processes.running(stack.state)
    if not {"bigtable", "bigquery"} <= running.keys():
        _clear(stack)
        _remember(stack)
        return stack.services()
    return [service for service in stack.services() if service.name not in running]


def _start(services: list[Service], stack: Stack, console: Console) -> None:
    """Start services, wait until each is ready, and prepare the stores when they are."""
    started = [(service, processes.start(service, stack.state)) for service in services]
    with console.status("starting") as status:
        for service, process in started:
            status.update(f"starting {service.title}")
            processes.wait_until_ready(service, process, stack.state)
            console.print(f"[green]✓[/] {service.title} at 127.0.0.1:{service.port}")
            if service.name == "bigquery":  # Bigtable has started before it
                console.print(f"[green]✓[/] {prepare()}")


def _clear(stack: Stack) -> list[str]:
    """Stop every process of a stack, and remove its files: its runs would be taken up again by the next Airflow.

    Returns:
        What was stopped.
    """
    stopped = [service.title for service in reversed(stack.services()) if processes.stop(service, stack.state)]
    _record(stack.state).unlink(missing_ok=True)
    shutil.rmtree(stack.state / "airflow", ignore_errors=True)
    return stopped


def _record(state: Path) -> Path:
    return state / "stack.json"


def _remember(stack: Stack) -> None:
    stack.state.mkdir(parents=True, exist_ok=True)
    fields = asdict(stack)
    _record(stack.state).write_text(json.dumps({name: fields[name] for name in ("ports", "bigtable")}))
