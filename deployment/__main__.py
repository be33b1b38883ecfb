"""Deploys to an environment: `python -m deployment NAME` shows what would change, with `--apply` changes it."""

import argparse
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from rich.console import Console

from deployment.commands import Commands
from deployment.errors import DeploymentError
from deployment.execute import carry_out
from deployment.outputs import Outputs, read, read_file
from deployment.plan import Planner
from deployment.report import Report
from deployment.source import Source

ROOT = Path(__file__).parents[1]
_ENVIRONMENTS = Path("infra", "environments")
_EXAMPLE = Path(__file__).with_name("example.json")


def main() -> int:
    """Deploy, or show what would be; return the exit code."""
    arguments = _parser().parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # CI ends what takes too long by the latter
        signal.signal(number, signal.default_int_handler)
    dry = not arguments.apply
    report = Report(Console(), dry=dry)
    commands = Commands(report.detail, dry=dry, folder=ROOT)
    try:
        return _deploy(arguments, report, commands)
    except DeploymentError as error:
        report.say(commands.redacted(str(error)), style="red")
        return 1
    except KeyboardInterrupt:
        report.say("interrupted")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deployment", description=__doc__)
    parser.add_argument("environment", type=_name, help=f"a folder in {_ENVIRONMENTS}; example: a made-up one")
    parser.add_argument("--apply", action="store_true", help="do it; else only show what would be done")
    parser.add_argument("--outputs", type=Path, help="a file of Terraform's output, instead of asking Terraform")
    parser.add_argument("--offline", action="store_true", help="ask nothing of Google Cloud: plan a first deployment")
    parser.add_argument("--dirty", action="store_true", help="deploy files as they are, also where git has others")
    return parser


def _deploy(arguments: argparse.Namespace, report: Report, commands: Commands) -> int:
    is_example = arguments.environment == "example" and not (ROOT / _ENVIRONMENTS / "example").is_dir()
    offline = arguments.offline or is_example
    if offline and arguments.apply:
        raise DeploymentError("nothing can be deployed without Google Cloud; leave APPLY=1 out, or take another ENV")
    outputs = _outputs(arguments.environment, _EXAMPLE if is_example else arguments.outputs, commands)
    commands.hide(_secrets(outputs.environment_variables))
    source = Source(ROOT, commands)
    if arguments.apply and not arguments.dirty:
        source.require_clean()
    if not offline:
        report.say("Asking Google Cloud how things are; the Airflow environment takes a while to list its packages.")
    planner = Planner(outputs, source, commands)
    plan = planner.plan(planner.nothing() if offline else planner.look())
    report.plan(plan, f"{arguments.environment} ({outputs.project}), commit {source.name}")
    if not plan.steps:
        return 0
    if failure := carry_out(plan.steps, report):
        report.outcome(failure)
        return 1
    if arguments.apply:
        report.next_steps(outputs)
    elif offline:
        report.say("\nNothing was asked, and nothing was changed.", style="bold")
    else:
        report.say(f"\nNothing was changed. To do it: make deploy ENV={arguments.environment} APPLY=1", style="bold")
        if source.changed:
            report.say(f"{len(source.changed)} files differ from commit {source.commit}: commit them first, or DIRTY=1")
    return 0


def _outputs(name: str, file: Path | None, commands: Commands) -> Outputs:
    if file:
        return read_file(file)
    folder = _ENVIRONMENTS / name
    if not (ROOT / folder).is_dir():
        there = sorted(path.name for path in (ROOT / _ENVIRONMENTS).glob("*") if path.is_dir())
        raise DeploymentError(
            f"{folder} does not exist; there is {', '.join(there) or 'none yet'}. Copy infra/examples/minimal there, "
            "fill it in and apply it; ENV=example needs nothing"
        )
    output = commands.ask("terraform", f"-chdir={folder}", "output", "-json", "deployment")
    return read(output, f"terraform output of {folder}")


def _secrets(variables: dict[str, str]) -> list[str]:
    """What must not be seen of the variables: connections and Airflow variables whole, and the passwords in them."""
    secrets: list[str] = []
    for name, value in variables.items():
        if not name.startswith(("AIRFLOW_CONN_", "AIRFLOW_VAR_")) and name != "FORESERVE_ALERTS":
            continue
        secrets.append(value)
        try:
            content = json.loads(value)
        except ValueError:
            password = urlsplit(value).password
            secrets += [password, unquote(password)] if password else []
        else:
            secrets += _passwords(content)
    return secrets


def _passwords(content: Any, name: str = "") -> list[str]:
    """Every text in a JSON document but those that say where something is."""
    if isinstance(content, dict):
        return [found for key, value in content.items() for found in _passwords(value, key)]
    if isinstance(content, list):
        return [found for value in content for found in _passwords(value, name)]
    public = name in ("conn_type", "host", "schema", "port", "id_token_audience", "project", "notifier")
    return [content] if isinstance(content, str) and not public else []


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of an environment; use lower-case letters, digits, - and _"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
