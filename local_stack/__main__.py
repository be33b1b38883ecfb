"""Run the cloud on this machine: `python -m local_stack up | demo | status | down`."""

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from local_stack import demo, report, supervisor
from local_stack.airflow_client import AirflowError
from local_stack.processes import StartError
from local_stack.settings import ROOT


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
        match arguments.command:
            case "up":
                return _up(console, arguments.bigtable, state)
            case "demo":
                return _demo(console, arguments.bigtable, state)
            case "status":
                return _status(console, state)
            case _:
                supervisor.down(console, state)
                console.print("Next: [b]make up[/] starts the stack anew, [b]make demo[/] runs a refresh.")
                return 0
    except (StartError, AirflowError) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; make status says what is still running")
        return 130


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
    commands.add_parser("down", help="stop the stack; its tables, models and runs are lost")
    return parser


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
    success = result.run.state == "success"
    if was_running:
        report.next_steps(stack, console)
    elif success:
        console.print("Next: [b]make up[/] keeps the stack running, with Airflow's UI and the service's page.")
    else:
        console.print("Next: [b]make up[/], then [b]make demo[/]: Airflow's UI then keeps the log of each task.")
    return 0 if success else 1


def _status(console: Console, state: Path) -> int:
    stack = supervisor.find(state)
    if stack is None:
        console.print("the stack is not running; make up starts it")
        return 1
    supervisor.show(console, stack)
    console.print("Next: [b]make demo[/] runs a refresh, [b]make down[/] stops the stack.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
