"""Run the cloud on this machine: `python -m local_stack up | demo | load | refresh | status | down | forget`."""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from local_stack import demo, report, sample_data, supervisor
from local_stack.airflow_client import AirflowError
from local_stack.processes import StartError
from local_stack.refresh import run_refresh
from local_stack.settings import ROOT
from local_stack.stack import Stack


def main() -> int:
    """Run a command; return the exit code."""
    # Each of these signals stops the services that were started. A command in the background of a shell ignores SIGINT
    # unless it sets a handler.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    arguments = _parser().parse_args()
    console = Console()
    state: Path = arguments.state.resolve()
    try:
        return _run(console, arguments, state)
    except (StartError, AirflowError) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; make status says what is still running")
        return 130


def _run(console: Console, arguments: argparse.Namespace, state: Path) -> int:
    match arguments.command:
        case "up":
            return _up(console, arguments.bigtable, state)
        case "demo":
            return _demo(console, arguments.bigtable, state)
        case "forget":
            supervisor.forget(console, state)
        case "down":
            supervisor.down(console, state)
            console.print("Next: [b]make up[/] goes on from there, [b]make clean[/] forgets.")
        case _:
            return _use(console, arguments, state)
    return 0


def _use(console: Console, arguments: argparse.Namespace, state: Path) -> int:
    """Run a command that needs a running stack."""
    stack = supervisor.find(state)
    if stack is None:
        console.print("the stack is not running; make up starts it")
        return 1
    match arguments.command:
        case "load":
            return _load(console, arguments.file, arguments.table, stack)
        case "refresh":
            return _refresh(console, arguments.model, arguments.conf, stack)
    supervisor.show(console, stack)
    console.print("Next: [b]make demo[/] runs a refresh, [b]make down[/] stops the stack.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_stack", description=__doc__)
    parser.add_argument(
        "--state",
        type=Path,
        default=ROOT / ".state",
        help="folder of logs and of Airflow's files (default %(default)s)",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "up": "start the stack and keep it running",
        "demo": "run a whole refresh, in the running stack or in a new one that is stopped afterwards",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--bigtable",
            choices=("auto", "cbtemulator", "embedded"),
            default="auto",
            help="auto takes Google's emulator (cbtemulator) if it is installed, else embedded (default %(default)s)",
        )
    commands.add_parser("status", help="print the addresses of the running services")
    load = commands.add_parser("load", help="load a CSV file into a table of the local BigQuery, which it replaces")
    load.add_argument("file", type=Path, help="the file, with the names of the columns in its first line")
    load.add_argument("table", help="DATASET.TABLE")
    refresh = commands.add_parser("refresh", help="run the refresh of a model in the running stack")
    refresh.add_argument("model", help="the model's name, which is its pipeline's")
    refresh.add_argument(
        "--conf", type=_conf, default={}, help="choices of the trigger form, as JSON (default %(default)s)"
    )
    commands.add_parser("down", help="stop the stack; its tables, models, versions and runs are kept")
    commands.add_parser("forget", help="stop the stack, and delete its tables, models, versions and runs")
    return parser


def _conf(text: str) -> dict[str, Any]:
    """Return the choices in a JSON object.

    Raises:
        argparse.ArgumentTypeError: the text is not a JSON object.
    """
    try:
        choices = json.loads(text)
    except ValueError:
        choices = None
    if not isinstance(choices, dict):
        raise argparse.ArgumentTypeError(f"{text} is no JSON object; write one such as CONF='{{\"promote\": false}}'")
    return choices


def _up(console: Console, bigtable: str, state: Path) -> int:
    stack = supervisor.up(console, bigtable, state)
    supervisor.show(console, stack)
    report.next_steps(stack, console)
    return 0


def _demo(console: Console, bigtable: str, state: Path) -> int:
    was_running = supervisor.find(state) is not None
    stack = supervisor.up(console, bigtable, state)
    try:
        result = demo.refresh(stack, console, params={})
        report.show(result, console)
    finally:
        if not was_running:
            supervisor.down(console, state)
    if was_running:
        report.next_steps(stack, console)
    elif result.failure is None:
        console.print("Next: [b]make up[/] keeps the stack running, with Airflow's UI and the service's page.")
    else:
        console.print("Next: [b]make up[/], then [b]make demo[/]: Airflow's UI then keeps the log of each task.")
    return 0 if result.failure is None else 1


def _load(console: Console, file: Path, table: str, stack: Stack) -> int:
    os.environ.update(stack.client_environment())
    try:
        loaded = sample_data.load_csv(sample_data.warehouse(), file, table)
    except (OSError, ValueError, GoogleAPICallError) as error:
        console.print(f"not loaded: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    columns = ", ".join(f"{column.name} {column.field_type}" for column in loaded.schema)
    console.print(f"{table}: {loaded.num_rows:,} rows; {columns}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _refresh(console: Console, model: str, choices: dict[str, Any], stack: Stack) -> int:
    pipelines = sorted(folder.name for folder in (ROOT / "dags" / "pipelines").iterdir() if folder.is_dir())
    if model not in pipelines:
        console.print(f"no pipeline {model!r}; there are {', '.join(pipelines)}", markup=False, soft_wrap=True)
        return 1
    if not _is_right(stack, model):
        console.print(f"not started; if a table has changed, run make record-schemas NAME={model}", markup=False)
        return 1
    os.environ.update(stack.client_environment())
    result = run_refresh(stack, console, model, choices)
    report.show(result, console)
    if result.failure is not None:
        console.print(f"The refresh failed: {result.failure}", style="red", markup=False, soft_wrap=True)
    return 0 if result.failure is None else 1


def _is_right(stack: Stack, model: str) -> bool:
    """Return True if make check-pipelines finds nothing wrong in a pipeline. It prints what it finds."""
    python = stack.environments / "airflow" / "bin" / "python"
    path = os.pathsep.join([str(ROOT), str(ROOT / "dags"), str(ROOT / "plugins")])
    command = (python, "-m", "refresh_factory.check", ROOT / "dags" / "pipelines" / model)
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": path}, check=False).returncode == 0  # noqa: S603  ours


if __name__ == "__main__":
    sys.exit(main())
