"""Measure the service: against its alternatives, with real latencies, under overload, in several processes.

benchmarks/README.md explains the figures.
"""

import os
import sys
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.results import FOLDER, keep
from benchmarks.serving import experiments, report
from benchmarks.serving.candidates import candidates
from benchmarks.serving.measurement import (
    Bench,
    Measurement,
    WrongAnswersError,
    allow_open_files,
    bench,
    feast_repository,
)

_WORKERS = (1, 2)
_BUSY = 0.5


def main() -> None:
    """Run the command. Exits with an error if a server gives a wrong answer."""
    arguments = _arguments()
    warnings.filterwarnings("ignore", "Connecting to Bigtable emulator")
    allow_open_files()
    console = Console(soft_wrap=True)
    load_average = os.getloadavg()[0]
    if load_average > _BUSY:
        console.print(f"Load average {load_average:.1f}: the machine is busy. Trust only the CPU time of an answer.")
    try:
        with bench(arguments.bigtable, arguments.entities, arguments.seconds) as at:
            options = {name: getattr(arguments, name) for name in ("entities", "runs", "seconds", "server")}
            found = report.conditions(at.bigtable, load_average, **options)
            console.print(found.rich())
            for name in arguments.parts or PARTS:
                console.print(f"{name} ...")
                result, grids = PARTS[name](at, arguments, console)
                for grid in grids.values():
                    console.print(grid.rich())
                keep("serving", {name: report.document(result, grids, found)}, arguments.results)
    except WrongAnswersError as error:
        sys.exit(str(error))


def _arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parts = (*PARTS, [])  # argparse checks the empty list if no part is given
    parser.add_argument("parts", nargs="*", choices=parts, metavar="PART", help=f"{', '.join(PARTS)}; all if none")
    parser.add_argument(
        "--entities", type=int, default=100_000, help="number of entities in Bigtable (default %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each candidate, in turn (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a load (default %(default)s)")
    parser.add_argument(
        "--connections", type=int, default=64, help="connections of a closed loop (default %(default)s)"
    )
    parser.add_argument(
        "--server",
        choices=("uvicorn", "granian"),
        default="granian",
        help="server of the official clients (default %(default)s)",
    )
    parser.add_argument("--feast", action="store_true", help="measure Feast too; it must be installed")
    parser.add_argument(
        "--bigtable",
        choices=("auto", "cbtemulator", "embedded"),
        default="auto",
        help="auto uses cbtemulator if it is installed (default %(default)s)",
    )
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results (default %(default)s)")
    return parser.parse_args()


def _comparison(at: Bench, arguments: Namespace, console: Console) -> tuple[Any, dict[str, report.Grid]]:
    measured: list[Measurement] = []
    with ExitStack() as stack:
        feast = stack.enter_context(feast_repository(at.entities)) if arguments.feast else None
        turns = candidates(arguments.server, arguments.connections, feast)
        for number in range(1, arguments.runs + 1):
            console.print(f"run {number} of {arguments.runs}")
            for candidate in turns:
                _note(measured, at.measure_all(candidate), console)
            _note(measured, [at.read_loop()], console)
    return measured, {"comparison": report.comparison(measured)}


def _hedging(at: Bench, _: Namespace, console: Console) -> tuple[Any, dict[str, report.Grid]]:
    runs = experiments.hedging(at)
    _note([], [run.measurement for run in runs], console)
    return runs, {"hedging": report.hedging_grid(runs)}


def _latencies(at: Bench, arguments: Namespace, console: Console) -> tuple[Any, dict[str, report.Grid]]:
    with ExitStack() as stack:
        feast = stack.enter_context(feast_repository(at.entities)) if arguments.feast else None
        runs = experiments.latencies(at, arguments.server, feast)
    _note([], [measurement for _, measurement in runs], console)
    return runs, {"latencies": report.latencies_grid(runs)}


def _settings(at: Bench, _: Namespace, console: Console) -> tuple[Any, dict[str, report.Grid]]:
    runs = experiments.settings(at)
    _note([], [measurement for _, measurement in runs], console)
    return runs, {"settings": report.settings_grid(runs)}


def _writes(at: Bench, arguments: Namespace, console: Console) -> tuple[Any, dict[str, report.Grid]]:
    with ExitStack() as stack:
        feast = stack.enter_context(feast_repository(at.entities)) if arguments.feast else None
        runs = [run for _ in range(arguments.runs) for run in experiments.writes(at, arguments.server, feast)]
    _note([], [measurement for _, measurement in runs], console)
    return runs, {"writes": report.writes_grid(runs)}


def _overload(at: Bench, arguments: Namespace, console: Console) -> tuple[Any, dict[str, report.Grid]]:
    run = experiments.overload(at, arguments.connections)
    _note([], [measurement for _, measurement in run.loads], console)
    return run, {"overload": report.overload_grid(run)}


def _scaling(at: Bench, arguments: Namespace, console: Console) -> tuple[Any, dict[str, report.Grid]]:
    measured: list[Measurement] = []
    for _ in range(arguments.runs):
        for workers in _WORKERS:
            _note(measured, [experiments.scaling(at, workers, arguments.connections)], console)
    return measured, {"scaling": report.scaling_grid(measured)}


PARTS: dict[str, Callable[[Bench, Namespace, Console], tuple[Any, dict[str, report.Grid]]]] = {
    "comparison": _comparison,
    "latencies": _latencies,
    "settings": _settings,
    "writes": _writes,
    "hedging": _hedging,
    "overload": _overload,
    "scaling": _scaling,
}
"""The parts by name. Each returns its results and its tables."""


def _note(measured: list[Measurement], more: list[Measurement], console: Console) -> None:
    measured += more
    for measurement in more:
        console.print(f"  {report.summary(measurement)}")


if __name__ == "__main__":
    main()
