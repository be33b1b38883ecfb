"""Measure the export job against Beam's own connectors, and its memory by the size of the table.

benchmarks/README.md explains the figures.
"""

import sys
import warnings
from argparse import ArgumentParser
from pathlib import Path

from rich.console import Console

from benchmarks.export import report
from benchmarks.export.measurement import Connectors, ExportRun, WrongCellsError, measure
from benchmarks.results import FOLDER, conditions, keep

OTHER_SIZES = (0.25, 3)
"""Further numbers of rows at which the export job is measured, in multiples of `--rows`."""

Plan = list[tuple[Connectors, int]]


def main() -> None:
    """Run the command. Exits with an error if runs with the same rows wrote different cells."""
    parser = ArgumentParser(prog="python -m benchmarks.export", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="predictions to export (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn (default %(default)s)")
    parser.add_argument(
        "--bigtable",
        choices=("auto", "cbtemulator", "embedded"),
        default="auto",
        help="auto uses cbtemulator if it is installed (default %(default)s)",
    )
    parser.add_argument("--feast", action="store_true", help="measure Feast too; it must be installed")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results (default %(default)s)")
    arguments = parser.parse_args()

    others: list[Connectors] = ["beam", "feast"] if arguments.feast else ["beam"]
    turn: Plan = [(connectors, arguments.rows) for connectors in ("native", *others)]
    side_by_side = turn * arguments.runs
    found = conditions(rows=arguments.rows, runs=arguments.runs, bigtable=arguments.bigtable)
    other_sizes: Plan = [("native", round(arguments.rows * size)) for size in OTHER_SIZES]
    warnings.filterwarnings("ignore", "Connecting to Bigtable emulator")
    console = Console(soft_wrap=True)
    try:
        measured = _run(side_by_side + other_sizes, arguments.bigtable, console)
    except WrongCellsError as error:
        sys.exit(str(error))
    compared, more = measured[: len(side_by_side)], measured[len(side_by_side) :]
    console.print(report.side_by_side(compared))
    console.print(report.by_size([run for run in measured if run.connectors == "native"]))
    console.print(f"All runs with the same number of rows wrote the same cells to Bigtable ({compared[0].bigtable}).")
    keep("export", {**report.document(compared, more), "conditions": found}, arguments.results)


def _run(plan: Plan, bigtable: str, console: Console) -> list[ExportRun]:
    """Make the runs one after the other, and check that all with the same number of rows write the same cells."""
    measured: list[ExportRun] = []
    digests: dict[int, str] = {}
    for number, (connectors, rows) in enumerate(plan, start=1):
        title = f"run {number} of {len(plan)}: {connectors}, {rows:,} rows"
        console.print(title)
        with console.status(f"{title} ..."):
            run = measure(connectors, rows, bigtable)
        console.print(f"  {report.summary(run)}")
        if run.digest and digests.setdefault(rows, run.digest) != run.digest:
            raise WrongCellsError(f"run {number} ({connectors}) wrote other cells than the runs before it")
        measured.append(run)
    return measured


if __name__ == "__main__":
    main()
