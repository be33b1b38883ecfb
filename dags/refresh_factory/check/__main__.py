"""Check pipelines: `python -m refresh_factory.check [FOLDER ...]`."""

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from refresh_factory.check.rules import check_pipelines, missing_schemas
from refresh_factory.pipeline import PIPELINES, load_pipeline


def main() -> int:
    """Print errors and warnings, one a line, with file and line first; return 1 if there is an error."""
    parser = argparse.ArgumentParser(prog="python -m refresh_factory.check", description=__doc__)
    parser.add_argument("folders", type=Path, nargs="*", help="the pipelines' folders (default: all of dags/pipelines)")
    parser.add_argument("--bigquery", choices=("local", "cloud"), help="a BigQuery for dry runs (default: none)")
    arguments = parser.parse_args()
    folders = arguments.folders or sorted(
        folder for folder in PIPELINES.iterdir() if folder.is_dir() and not folder.name.startswith(("_", "."))
    )
    problems = check_pipelines(folders) + missing_schemas(folders)
    if arguments.bigquery and all(problem.is_warning for problem in problems):
        from refresh_factory.check.bigquery import RunningBigQuery  # noqa: PLC0415  Google's client takes a second

        running = RunningBigQuery(arguments.bigquery)
        problems += [problem for folder in folders for problem in running.dry_run(folder, load_pipeline(folder))]
    for problem in problems:
        sys.stdout.write(f"{replace(problem, file=Path(os.path.relpath(problem.file)))}\n")
    names = ", ".join(folder.name for folder in folders)
    errors = sum(not problem.is_warning for problem in problems)
    sys.stdout.write(f"{errors} problem{'s' * (errors > 1)} in {names}\n" if errors else f"nothing wrong in {names}\n")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
