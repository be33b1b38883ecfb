"""Runs tests, each in the environment of its folder: `run.py [--fast | PATH ...] [options of pytest]`."""

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile

ROOT = Path(__file__).parent.parent
PARALLEL = ("-n", "logical", "--maxprocesses", "4", "--dist", "loadfile")
NOTHING_COLLECTED = 5

# The environment that runs the tests of a folder. The longest entry that a path begins with counts.
ENVIRONMENTS = {
    "tests": "airflow",
    "tests/airflow_versions": "local_stack",
    "tests/browser": "browser",
    "tests/docker": "local_stack",
    "tests/end_to_end": "local_stack",
    "tests/local_stack": "local_stack",
    "local_bigquery": "local_bigquery",
}
# Folders that `make test` leaves to other targets: they need a whole stack, a download or minutes.
OTHER_TARGETS = (
    "tests/airflow_versions",
    "tests/browser",
    "tests/deployment",
    "tests/docker",
    "tests/end_to_end",
    "tests/infra/terraform",
    "tests/monitoring",
)


def environment_of(path: str) -> str:
    """Return the name of the environment that runs the tests at a path."""
    folders = [folder for folder in ENVIRONMENTS if Path(path).is_relative_to(folder)]
    return ENVIRONMENTS[max(folders, key=len)] if folders else "airflow"


def suites(arguments: list[str]) -> dict[str, list[str]]:
    """Return the arguments of pytest by environment.

    Args:
        arguments: paths, which may have `::`, and options of pytest. Without a path: all suites of `make test`.
    """
    paths = [argument for argument in arguments if (ROOT / argument.partition("::")[0]).exists()]
    options = [argument for argument in arguments if argument not in paths]
    if not paths:
        paths = [folder for folder in ENVIRONMENTS if folder not in OTHER_TARGETS]
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(environment_of(path), []).append(path)
    for environment, folders in found.items():
        inner = [*OTHER_TARGETS, *(folder for folder in ENVIRONMENTS if ENVIRONMENTS[folder] != environment)]
        ignored = {other for other in inner if any(is_below(other, folder) for folder in folders)}
        folders += [*(f"--ignore={folder}" for folder in sorted(ignored)), *options]
    return found


def is_below(folder: str, other: str) -> bool:
    """Return True if a folder is inside another one."""
    return folder != other and Path(folder).is_relative_to(other)


def pytest(environment: str, arguments: list[str]) -> int:
    """Run pytest in an environment; return its exit code, 0 also if there was nothing to run."""
    python = ROOT / ".venvs" / environment / "bin" / "python"
    sys.stdout.write(f"{environment}: pytest {' '.join(arguments)}\n")
    sys.stdout.flush()
    code = subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, check=False).returncode
    return 0 if code == NOTHING_COLLECTED else code


def main(arguments: list[str]) -> int:
    """Run the tests that the arguments name, or all of them beside `make lint`; return the exit code."""
    if arguments[:1] == ["--fast"]:
        return pytest("airflow", [*PARALLEL, "-m", "not slow", *suites(arguments[1:])["airflow"]])
    if arguments:
        codes = [pytest(environment, given) for environment, given in suites(arguments).items()]
        return int(any(codes))
    with TemporaryFile() as said:
        lint = subprocess.Popen([os.environ.get("MAKE", "make"), "lint"], cwd=ROOT, stdout=said, stderr=said)
        codes = [pytest(environment, [*PARALLEL, *given]) for environment, given in suites([]).items()]
        codes.append(lint.wait())
        said.seek(0)
        sys.stdout.buffer.write(said.read())
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
