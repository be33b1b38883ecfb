"""The results: tables for the console and in Markdown, and a JSON document."""

import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import groupby
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.document import markdown_table, short
from benchmarks.serving.candidates import OURS
from benchmarks.serving.exchanges import BATCH, LARGE_BATCH
from benchmarks.serving.experiments import Hedging, Overload
from benchmarks.serving.measurement import Measurement

Key = tuple[str, str, int]
"""Candidate, kind of exchange, connections. Measurements with the same key are runs of the same thing."""

KIND_TITLES = {
    "lookups": "one id",
    "feast_lookups": "one id",
    "constant": "a constant",
    "batches": f"{BATCH} ids",
    "large_batches": f"{LARGE_BATCH:,} ids",
    "feast_batches": f"{BATCH} ids",
}

FIGURES: dict[str, Callable[[Measurement], float]] = {
    "answers/s": lambda m: m.result.per_second,
    "p50 ms": lambda m: m.result.p50_ms,
    "p99 ms": lambda m: m.result.p99_ms,
    "p99.9 ms": lambda m: m.result.p999_ms,
    "CPU µs/answer": lambda m: m.cpu_micros,
    "MiB": lambda m: m.memory_mib,
    "not right": lambda m: m.result.not_right,
    "its CPU busy": lambda m: m.service_busy,
    "other CPU busy": lambda m: m.others_busy,
}
"""The figures of a measurement, by name."""

_IN_TABLES = ("answers/s", "p50 ms", "p99 ms", "CPU µs/answer", "MiB")
_SHARES = frozenset({"not right", "its CPU busy", "other CPU busy"})


@dataclass(frozen=True, slots=True)
class Grid:
    """A table for the console and for Markdown."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def rich(self) -> Table:
        """The table for the console."""
        table = Table(self.head[0], title=self.title, title_justify="left")
        for name in self.head[1:]:
            table.add_column(name, justify="right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """The table in Markdown."""
        return markdown_table(self.head, self.rows, align="---:")


def medians(measurements: Sequence[Measurement]) -> dict[Key, dict[str, float]]:
    """The median of each figure over the runs with the same key, in the order of first runs."""
    order: dict[Key, list[Measurement]] = {}
    for measurement in measurements:
        order.setdefault(_key(measurement), []).append(measurement)
    return {key: {name: median(map(figure, runs)) for name, figure in FIGURES.items()} for key, runs in order.items()}


def comparison(measurements: Sequence[Measurement]) -> Grid:
    """The medians of all candidates, and their ratios to those of the service."""
    found = medians(measurements)
    rows = []
    for (candidate, kind, connections), figures in found.items():
        ours = _ours(found, kind, connections)
        ratios = ("-", "-")
        if ours and candidate != OURS:
            ratios = (
                f"{ours['answers/s'] / figures['answers/s']:.2f}",
                f"{figures['CPU µs/answer'] / ours['CPU µs/answer']:.2f}",
            )
        rows.append((candidate, KIND_TITLES[kind], str(connections), *_shown(figures, _IN_TABLES), *ratios))
    head = ("candidate", "asked for", "connections", *_IN_TABLES, "ours/its answers/s", "its/our CPU")
    runs = max(len(list(group)) for _, group in groupby(sorted(map(_key, measurements))))
    return Grid(f"Side by side, medians of {runs}", head, tuple(rows))


def hedging_grid(runs: Sequence[Hedging]) -> Grid:
    """Latencies on a Bigtable that delays random reads, without and with hedged reads."""
    rows = tuple(
        (
            f"{run.budget:.0%}" if run.budget else "off",
            short(run.measurement.result.p50_ms),
            short(run.measurement.result.p99_ms),
            short(run.measurement.result.p999_ms),
            f"{run.hedged_share:.1%}",
            str(run.measurement.result.sent),
        )
        for run in runs
    )
    head = ("hedge budget", "p50 ms", "p99 ms", "p99.9 ms", "hedged reads", "lookups")
    return Grid("Hedging, on a Bigtable that delays random reads", head, rows)


def latencies_grid(runs: Sequence[tuple[float, Measurement]]) -> Grid:
    """Latencies on a Bigtable whose reads take as long as Google's."""
    rows = tuple(
        (
            measurement.candidate,
            KIND_TITLES[measurement.question.kind],
            short(rate),
            short(measurement.result.p50_ms),
            short(measurement.result.p99_ms),
            f"{measurement.result.not_right:.1%}",
            short(measurement.cpu_micros),
        )
        for rate, measurement in runs
    )
    head = ("candidate", "asked for", "requests/s", "p50 ms", "p99 ms", "not right", "CPU µs/answer")
    return Grid("On a Bigtable with real latencies", head, rows)


def settings_grid(runs: Sequence[tuple[str, Measurement]]) -> Grid:
    """Latencies and CPU time by setting."""
    rows = tuple(
        (
            name,
            short(measurement.result.p50_ms),
            short(measurement.result.p99_ms),
            f"{measurement.result.not_right:.1%}",
            short(measurement.cpu_micros),
        )
        for name, measurement in runs
    )
    head = ("setting", "p50 ms", "p99 ms", "not right", "CPU µs/answer")
    return Grid(f"{BATCH} ids on a Bigtable with real latencies, by setting", head, rows)


def writes_grid(runs: Sequence[tuple[float, Measurement]]) -> Grid:
    """Medians of lookups without and during a burst of writes, and the range of the 99th percentiles."""
    grouped: dict[tuple[str, float], list[Measurement]] = {}
    for rate, measurement in runs:
        grouped.setdefault((measurement.candidate, rate), []).append(measurement)
    rows = []
    for (candidate, rate), found in grouped.items():
        p99 = [measurement.result.p99_ms for measurement in found]
        rows.append(
            (
                candidate,
                short(rate),
                short(median(measurement.result.p50_ms for measurement in found)),
                f"{short(median(p99))} ({short(min(p99))} to {short(max(p99))})",
                f"{median(measurement.result.not_right for measurement in found):.1%}",
                short(median(measurement.cpu_micros for measurement in found)),
            )
        )
    head = ("candidate", "rows written/s", "p50 ms", "p99 ms", "not right", "CPU µs/answer")
    return Grid("During a burst of writes", head, tuple(rows))


def overload_grid(run: Overload) -> Grid:
    """The results of loads around the sustainable load."""
    rows = []
    for factor, measurement in run.loads:
        result = measurement.result
        rows.append(
            (
                f"{factor:g} x",
                short(factor * run.sustainable),
                short(result.sent / result.seconds),
                short(result.per_second),
                f"{result.per_second / run.peak:.0%}",
                short(result.p50_ms),
                short(result.p99_ms),
                f"{result.refused / result.sent:.1%}",
                short(result.refused_p99_ms),
                f"{(result.failed + result.dropped) / result.sent:.1%}",
            )
        )
    head = (
        "load",
        "due/s",
        "sent/s",
        "goodput/s",
        "of peak",
        "p50 ms",
        "p99 ms",
        "refused",
        "refusal p99 ms",
        "failed",
    )
    return Grid(f"Overload, sustainable: {run.sustainable:,.0f} lookups/s", head, tuple(rows))


def scaling_grid(measurements: Sequence[Measurement]) -> Grid:
    """The medians by number of processes."""
    found = medians(measurements)
    rows = tuple((candidate, *_shown(figures, _IN_TABLES)) for (candidate, _, _), figures in found.items())
    return Grid("Processes, on all CPUs", ("service", *_IN_TABLES), rows)


def conditions(bigtable: str, load_average: float, **options: object) -> Grid:
    """The conditions of all measurements.

    Args:
        bigtable: the implementation of Bigtable.
        load_average: the machine's load average of the minute before; near 0 on a quiet machine.
        options: the options of the command.
    """
    packages = ("fastapi", "granian", "google-cloud-bigtable", "grpcio", "uvicorn", "uvloop")
    rows: list[tuple[str, str]] = [
        ("CPUs", str(os.cpu_count())),
        ("load average before", f"{load_average:.2f}"),
        ("Bigtable", bigtable),
        *((name, f"{value}") for name, value in options.items()),
        ("python", platform.python_version()),
        *((package, version(package)) for package in packages),
    ]
    return Grid("Conditions", ("what", "value"), tuple(rows))


def document(result: Any, grids: Mapping[str, Grid], measured_under: Grid) -> dict[str, Any]:
    """All measurements of a part, its tables, and its conditions."""
    return {
        "conditions": {row[0]: row[1] for row in measured_under.rows},
        "tables": {name: {"head": grid.head, "rows": grid.rows} for name, grid in grids.items()},
        "runs": _plain(result),
    }


def summary(measurement: Measurement) -> str:
    """A measurement as one line of text."""
    candidate, kind, connections = _key(measurement)
    figures = medians([measurement])[_key(measurement)]
    shown = ", ".join(f"{text} {name}" for name, text in zip(FIGURES, _shown(figures, FIGURES), strict=True))
    return f"{candidate}, {KIND_TITLES[kind]} on {connections} connections: {shown}"


def _key(measurement: Measurement) -> Key:
    return measurement.candidate, measurement.question.kind, measurement.question.connections


def _ours(found: dict[Key, dict[str, float]], kind: str, connections: int) -> dict[str, float] | None:
    """The figures of the service for comparable exchanges; None if they were not measured."""
    kind = {"constant": "lookups", "feast_lookups": "lookups", "feast_batches": "batches"}.get(kind, kind)
    return found.get((OURS, kind, connections))


def _plain(result: Any) -> Any:
    if isinstance(result, list):
        return [_plain(part) for part in result]
    return [result[0], asdict(result[1])] if isinstance(result, tuple) else asdict(result)


def _shown(figures: dict[str, float], names: Iterable[str]) -> list[str]:
    return [f"{figures[name]:.0%}" if name in _SHARES else short(figures[name]) for name in names]
