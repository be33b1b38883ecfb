"""Deploys to an environment: `python -m deployment NAME` prints the commands, and `--apply` runs them."""

import argparse
import json
import re
import signal
import sys
from pathlib import Path
from typing import Any

from deployment.shell import DeploymentError, Shell, say
from deployment.source import Source
from deployment.steps import ROOT, Deployment

_ENVIRONMENTS = Path("infra", "environments")


def main() -> int:
    """Print or run the commands; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployment", description=__doc__)
    parser.add_argument("environment", help=f"a folder in {_ENVIRONMENTS}; example: a fictional one, never changed")
    parser.add_argument("--apply", action="store_true", help="run the commands; without it, only print them")
    parser.add_argument("--back", action="store_true", help="go back to the deployment before")
    parser.add_argument("--dirty", action="store_true", help="allow files that differ from the git commit")
    parser.add_argument("--outputs", type=Path, help="file with Terraform's output; without it, Terraform is run")
    parser.add_argument("--watch", type=float, default=300, metavar="SECONDS", help="for each share of the traffic")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # CI sends SIGTERM when a job exceeds its time limit
        signal.signal(number, signal.default_int_handler)
    is_example = arguments.environment == "example"
    shell = Shell(ROOT, applies=arguments.apply and not is_example, offline=is_example)
    deployment: Deployment | None = None
    try:
        file = Path(__file__).with_name("example.json") if is_example else arguments.outputs
        outputs = read_outputs(*_terraform(shell, arguments.environment, file))
        source = Source(shell)
        if shell.applies and not arguments.dirty and not arguments.back:
            source.require_clean()
        deployment = Deployment(shell, outputs, arguments.watch)
        if arguments.back:
            deployment.back(lambda commit: Source(shell, commit))
        else:
            say(f"Commit {source.name} to {outputs['project']}")
            deployment.deploy(source)
    except (DeploymentError, KeyboardInterrupt) as error:
        say(f"\nFAILED: {str(error) or 'interrupted'}\n{deployment.state if deployment else 'Nothing was changed.'}")
        return 1
    if not shell.applies:
        say("\nNothing was changed. To run the commands that change something: APPLY=1")
    else:
        say("\nDeployed. Airflow has all files within 5 minutes. Next: trigger a refresh, or look at running ones.")
    return 0


def _terraform(shell: Shell, name: str, file: Path | None) -> tuple[str, str]:
    """Return Terraform's output, and its origin for errors."""
    if file:
        try:
            return file.read_text(), str(file)
        except OSError as error:
            raise DeploymentError(f"{file}: {error.strerror}; give the file with Terraform's output") from error
    folder = _ENVIRONMENTS / name
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name) or not (ROOT / folder).is_dir():
        existing = sorted(path.name for path in (ROOT / _ENVIRONMENTS).glob("*") if path.is_dir())
        raise DeploymentError(
            f"{folder} does not exist; existing environments: {', '.join(existing) or 'none'}. Copy "
            "infra/examples/minimal there, write what is yours, and apply it. ENV=example needs no folder"
        )
    return shell.output("terraform", f"-chdir={folder}", "output", "-json", "deployment", text=True), f"{folder}"


def read_outputs(text: str, origin: str) -> dict[str, Any]:
    """Read Terraform's output `deployment`.

    Raises:
        DeploymentError: the text is no JSON, or a field is missing.
    """
    try:
        outputs: dict[str, Any] = json.loads(text)
        for part, names in (
            ("airflow", ["bucket", "environment", "location"]),
            ("api", ["service", "location", "url"]),
        ):
            for name in names:
                outputs[part][name]
        for name in ("project", "image_repository"):
            outputs[name]
    except json.JSONDecodeError as error:
        raise DeploymentError(f"{origin}: not JSON ({error}); give `terraform output -json deployment`") from error
    except (KeyError, TypeError) as error:
        raise DeploymentError(f"{origin}: {error} is missing; apply infra/ of this commit") from error
    return outputs


if __name__ == "__main__":
    sys.exit(main())
