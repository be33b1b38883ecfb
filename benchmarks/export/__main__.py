"""Measure the export job against Beam's own connectors, side by side, and its memory by the size of the table.

See benchmarks/README.md for what is measured.
"""

import json
import sys
import warnings
from argparse import ArgumentParser
from pathlib import Path

from rich.console import Console

from benchmarks.export import report
from benchmarks.export.measurement import Connectors, Measurement, WrongCellsError, measure

OTHER_SIZES = (0.25, 3)
"""Sizes of tables, in multiples of `--rows`, at which the memory of the native path is measured too."""

Plan = list[tuple[Connectors, int]]


def main() -> None:
    """Run the command; exits with an error if the two do not leave the same cells."""
    parser = ArgumentParser(prog="python -m benchmarks.export", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="predictions to export (default %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each path, by turns (default %(default)s)")
    parser.add_argument(
        "--bigtable",
        choices=("auto", "cbtemulator", "embedded"),
        default="auto",
        help="auto takes cbtemulator where it is installed (default %(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was measured to FILE")
    arguments = parser.parse_args()

    side_by_side: Plan = [("native", arguments.rows), ("beam", arguments.rows)] * arguments.runs
    other_sizes: Plan = [("native", round(arguments.rows * size)) for size in OTHER_SIZES]
    warnings.filterwarnings("ignore", "Connecting to Bigtable emulator")
    console = Console(soft_wrap=True)
    try:
        measured = _run(side_by_side + other_sizes, arguments.bigtable, console)
    except WrongCellsError as error:
        sys.exit(str(error))
    compared, others = measured[: len(side_by_side)], measured[len(side_by_side) :]
    console.print(report.side_by_side(compared))
    console.print(report.by_size([m for m in measured if m.connectors == "native"]))
    console.print(f"All runs of one size left the same cells in Bigtable ({compared[0].bigtable}).")
    if arguments.json:
        arguments.json.write_text(json.dumps(report.document(compared, others), indent=2) + "\n")


def _run(plan: Plan, bigtable: str, console: Console) -> list[Measurement]:
    """Make the runs one after the other, and make sure that all of one size leave the same cells."""
    measured: list[Measurement] = []
    digests: dict[int, str] = {}
    for number, (connectors, rows) in enumerate(plan, start=1):
        title = f"run {number} of {len(plan)}: {connectors}, {rows:,} rows"
        console.print(title)
        with console.status(f"{title} ..."):
            measurement = measure(connectors, rows, bigtable)
        console.print(f"  {report.summary(measurement)}")
        if digests.setdefault(rows, measurement.digest) != measurement.digest:
            raise WrongCellsError(f"run {number} ({connectors}) left other cells than the runs before it")
        measured.append(measurement)
    return measured


if __name__ == "__main__":
    main()
