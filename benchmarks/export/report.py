"""The results: tables for the console, and a JSON document."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.document import short
from benchmarks.export.measurement import Connectors, ExportRun

_MEBIBYTE = 1024**2

FIGURES: dict[str, Callable[[ExportRun], float]] = {
    "wall s": lambda m: m.wall_seconds,
    "CPU s": lambda m: m.cpu_seconds,
    "rows/s": lambda m: m.rows_per_second,
    "rows/CPU s": lambda m: m.rows_per_cpu_second,
    "peak MiB": lambda m: m.peak_bytes / _MEBIBYTE,
}
"""The figures of a run, by name."""


def medians(runs: Sequence[ExportRun], connectors: Connectors) -> dict[str, float]:
    """The median of each figure over the runs with some connectors."""
    return {
        name: median(figure(run) for run in runs if run.connectors == connectors) for name, figure in FIGURES.items()
    }


def ratios(runs: Sequence[ExportRun], other: Connectors = "beam") -> dict[str, float]:
    """The medians of the export job, divided by those of others."""
    native, others = medians(runs, "native"), medians(runs, other)
    return {name: native[name] / others[name] for name in FIGURES}


def side_by_side(runs: Sequence[ExportRun]) -> Table:
    """All runs, their medians, and the ratios of the medians."""
    table = _table(f"Export of {runs[0].rows:,} rows", "", *FIGURES)
    for run in runs:
        table.add_row(run.connectors, *_numbers(medians([run], run.connectors)))
    table.add_section()
    measured = dict.fromkeys(run.connectors for run in runs)
    for connectors in measured:
        table.add_row(f"{connectors}, median", *_numbers(medians(runs, connectors)))
    for connectors in measured:
        if connectors != "native":
            table.add_row(f"native / {connectors}", *_numbers(ratios(runs, connectors)), style="bold")
    return table


def by_size(runs: Sequence[ExportRun]) -> Table:
    """The medians of the export job by number of rows. Its memory should not depend on that."""
    table = _table("Native, by rows", "rows", *FIGURES)
    for rows in sorted({run.rows for run in runs}):
        table.add_row(f"{rows:,}", *_numbers(medians([run for run in runs if run.rows == rows], "native")))
    return table


def document(compared: Sequence[ExportRun], other_sizes: Sequence[ExportRun]) -> dict[str, Any]:
    """All measurements, and the versions."""
    packages = ("apache-beam", "google-cloud-bigquery-storage", "google-cloud-bigtable", "pyarrow")
    measured = dict.fromkeys(run.connectors for run in compared)
    return {
        "versions": {package: version(package) for package in packages},
        "medians": {connectors: medians(compared, connectors) for connectors in measured},
        "ratios": {other: ratios(compared, other) for other in measured if other != "native"},
        "runs": [asdict(run) for run in (*compared, *other_sizes)],
    }


def summary(run: ExportRun) -> str:
    """A run as one line of text."""
    return ", ".join(f"{short(figure(run))} {name}" for name, figure in FIGURES.items())


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(first, title=title, title_justify="left")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _numbers(figures: dict[str, float]) -> list[str]:
    return [short(number) for number in figures.values()]
