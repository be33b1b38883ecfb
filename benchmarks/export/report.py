"""The results of the benchmark: tables for the console, and a JSON document."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib.metadata import version
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.export.measurement import Connectors, Measurement
from benchmarks.number import short

_MEBIBYTE = 1024**2

FIGURES: dict[str, Callable[[Measurement], float]] = {
    "wall s": lambda m: m.wall_seconds,
    "CPU s": lambda m: m.cpu_seconds,
    "rows/s": lambda m: m.rows_per_second,
    "rows/CPU s": lambda m: m.rows_per_cpu_second,
    "peak MiB": lambda m: m.peak_bytes / _MEBIBYTE,
}
"""What is shown of a run."""


def medians(measurements: Sequence[Measurement], connectors: Connectors) -> dict[str, float]:
    """The median of each figure over the runs of a path."""
    return {
        name: median(figure(m) for m in measurements if m.connectors == connectors) for name, figure in FIGURES.items()
    }


def ratios(measurements: Sequence[Measurement]) -> dict[str, float]:
    """The medians of the native path over those of Beam's connectors."""
    native, beam = medians(measurements, "native"), medians(measurements, "beam")
    return {name: native[name] / beam[name] for name in FIGURES}


def side_by_side(measurements: Sequence[Measurement]) -> Table:
    """Every run of both paths, their medians, and the ratios of these."""
    table = _table(f"Export of {measurements[0].rows:,} rows", "", *FIGURES)
    for measurement in measurements:
        table.add_row(measurement.connectors, *_numbers(medians([measurement], measurement.connectors)))
    table.add_section()
    for connectors in ("native", "beam"):
        table.add_row(f"{connectors}, median", *_numbers(medians(measurements, connectors)))
    table.add_row("native / beam", *_numbers(ratios(measurements)), style="bold")
    return table


def by_size(measurements: Sequence[Measurement]) -> Table:
    """The medians of the native path, by the size of the table: its memory should stay the same."""
    table = _table("Native, by rows", "rows", *FIGURES)
    for rows in sorted({m.rows for m in measurements}):
        table.add_row(f"{rows:,}", *_numbers(medians([m for m in measurements if m.rows == rows], "native")))
    return table


def document(compared: Sequence[Measurement], other_sizes: Sequence[Measurement]) -> dict[str, Any]:
    """Everything that was measured, and on what."""
    packages = ("apache-beam", "google-cloud-bigquery-storage", "google-cloud-bigtable", "pyarrow")
    return {
        "machine": {"cpus": os.cpu_count(), "platform": platform.platform()},
        "versions": {"python": platform.python_version(), **{package: version(package) for package in packages}},
        "medians": {"native": medians(compared, "native"), "beam": medians(compared, "beam")},
        "ratios": ratios(compared),
        "runs": [asdict(measurement) for measurement in (*compared, *other_sizes)],
    }


def summary(measurement: Measurement) -> str:
    """A run in a line."""
    return ", ".join(f"{short(figure(measurement))} {name}" for name, figure in FIGURES.items())


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(first, title=title, title_justify="left")
    for name in others:
        table.add_column(name, justify="right")
    return table


def _numbers(figures: dict[str, float]) -> list[str]:
    return [short(number) for number in figures.values()]
