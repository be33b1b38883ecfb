"""Deploys to an environment: `python -m deployment NAME` shows the plan, and `--apply` executes it."""

import argparse
import re
import signal
import sys
from pathlib import Path

from rich.console import Console

from deployment.commands import DeploymentError, Runner
from deployment.execute import execute
from deployment.outputs import Outputs, read, read_file
from deployment.plan import UNKNOWN, Planner
from deployment.report import Report
from deployment.source import Source

ROOT = Path(__file__).parents[1]
_ENVIRONMENTS = Path("infra", "environments")
_EXAMPLE = Path(__file__).with_name("example.json")


def main() -> int:
    """Show a plan or execute it; return the exit code."""
    arguments = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # CI sends SIGTERM when a job exceeds its time limit
        signal.signal(number, signal.default_int_handler)
    report = Report(Console())
    try:
        return 0 if _deploy(arguments, report, Runner(report.command, ROOT)) else 1
    except DeploymentError as error:
        report.say(str(error), "red")
        return 1
    except KeyboardInterrupt:
        report.say("interrupted")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployment", description=__doc__)
    parser.add_argument("environment", type=_name, help=f"a folder in {_ENVIRONMENTS}, or example for a fictional one")
    parser.add_argument("--apply", action="store_true", help="execute the plan; without it, only show the plan")
    parser.add_argument("--outputs", type=Path, help="file with Terraform's output; without it, Terraform is run")
    parser.add_argument("--offline", action="store_true", help="plan a first deployment without asking Google Cloud")
    parser.add_argument("--dirty", action="store_true", help="allow files that differ from the git commit")
    return parser


def _deploy(arguments: argparse.Namespace, report: Report, runner: Runner) -> bool:
    is_example = arguments.environment == "example" and not (ROOT / _ENVIRONMENTS / "example").is_dir()
    offline = arguments.offline or is_example
    if offline and arguments.apply:
        raise DeploymentError("nothing can be deployed without Google Cloud; omit APPLY=1, or choose another ENV")
    outputs = _outputs(arguments.environment, _EXAMPLE if is_example else arguments.outputs, runner)
    report.hide(outputs.secrets())
    source = Source(ROOT, runner)
    if arguments.apply and not arguments.dirty:
        source.require_clean()
    planner = Planner(outputs, source, runner)
    if not offline:
        report.say("Reading the current state; the Airflow environment takes a while to list its packages.")
    plan = planner.plan(UNKNOWN if offline else planner.current_state())
    name = f"{arguments.environment} ({outputs.project}), commit {source.name}"
    report.plan(plan, name, with_commands=not arguments.apply)
    if not plan.steps:
        return True
    if arguments.apply:
        if succeeded := execute(plan.steps, runner, report):
            report.next_steps(outputs)
        return succeeded
    if offline:
        report.say("\nGoogle Cloud was not asked, and nothing was changed.", "bold")
    else:
        report.say(f"\nNothing was changed. To deploy: make deploy ENV={arguments.environment} APPLY=1", "bold")
        if source.changed:
            report.say(f"{len(source.changed)} files differ from commit {source.commit}: commit them first, or DIRTY=1")
    return True


def _outputs(name: str, file: Path | None, runner: Runner) -> Outputs:
    if file:
        return read_file(file)
    folder = _ENVIRONMENTS / name
    if not (ROOT / folder).is_dir():
        existing = sorted(path.name for path in (ROOT / _ENVIRONMENTS).glob("*") if path.is_dir())
        raise DeploymentError(
            f"{folder} does not exist; existing environments: {', '.join(existing) or 'none'}. Copy "
            "infra/examples/minimal there, fill in its values and apply it. ENV=example needs no folder"
        )
    output = runner.output("terraform", f"-chdir={folder}", "output", "-json", "deployment")
    return read(output, f"terraform output of {folder}")


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a valid name of an environment; use lower-case letters, digits, - and _"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
