"""The plots of the experiments, as SVG."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.serving.experiments import Overload
from benchmarks.serving.measurement import Measurement
from benchmarks.serving.report import KIND_TITLES

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 44, 48
_GRID_LINES = 4
_FEW_POINTS = 12
_BAR_PITCH = 26
_TEXT = 'font-family="system-ui, sans-serif" font-size="12" fill="#333"'


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its name, its colour, its points."""

    name: str
    colour: str
    points: tuple[tuple[float, float], ...]


def overload_svg(run: Overload) -> str:
    """Two charts by load: answers per second, and latencies of accepted requests."""
    results = [(factor, measurement.result) for factor, measurement in run.loads]
    answers = (
        Line("due", "#bbbbbb", tuple((factor, factor * run.sustainable) for factor, _ in results)),
        Line("goodput", "#1b7f4b", tuple((factor, result.per_second) for factor, result in results)),
        Line("refused", "#c0392b", tuple((factor, result.refused / result.seconds) for factor, result in results)),
    )
    latencies = (
        Line("accepted p99", "#1f5fa8", tuple((factor, result.p99_ms) for factor, result in results)),
        Line("accepted p50", "#7fb2e5", tuple((factor, result.p50_ms) for factor, result in results)),
    )
    charts = _chart("lookups/s", answers, 0) + _chart("ms", latencies, _HEIGHT)
    return _svg("Goodput and latency by load", 2 * _HEIGHT, charts)


def latencies_svg(runs: Sequence[tuple[float, Measurement]]) -> str:
    """Bars of the 99th percentile of each kind of request to each candidate, in milliseconds on a logarithmic axis."""
    left, right = 330, _WIDTH - 70
    highest = math.ceil(math.log10(max(measurement.result.p99_ms for _, measurement in runs)))
    parts = []
    for row, (_, measurement) in enumerate(runs):
        y = _TOP + _BAR_PITCH * row
        name = f"{measurement.candidate}: {KIND_TITLES[measurement.question.kind]}"
        p99 = measurement.result.p99_ms
        width = round(max(0.0, math.log10(p99)) / highest * (right - left), 1)
        parts.append(_label(left - 8, y + 13, name, "end"))
        parts.append(f'<rect x="{left}" y="{y}" width="{width}" height="18" fill="#1f5fa8"/>')
        parts.append(_label(left + width + 6, y + 13, f"{p99:.3g}", "start"))
    bottom = _TOP + _BAR_PITCH * len(runs)
    for power in range(highest + 1):
        x = round(left + power / highest * (right - left), 1)
        parts.append(f'<line x1="{x}" y1="{_TOP - 6}" x2="{x}" y2="{bottom}" stroke="#e5e5e5"/>')
        parts.append(_label(x, bottom + 18, f"{10**power:,} ms", "middle"))
    return _svg("Latency on a Bigtable with real latencies: 99th percentile", bottom + 30, "\n".join(parts) + "\n")


def endurance_svg(samples: Sequence[Mapping[str, Any]]) -> str:
    """Charts by minute: the 99th percentile, memory, and what the service has open."""
    charts = (
        ("p99 in ms", (("accepted p99", "#1f5fa8", "p99_ms"),)),
        ("MiB", (("resident memory", "#1b7f4b", "rss_mib"),)),
        ("open", (("files", "#c0392b", "files"), ("connections", "#7fb2e5", "connections"))),
    )
    parts = ""
    for number, (unit, lines) in enumerate(charts):
        drawn = [
            Line(name, colour, tuple((sample["seconds"] / 60, sample[key]) for sample in samples))
            for name, colour, key in lines
        ]
        parts += _chart(unit, drawn, number * _HEIGHT, "minutes")
    return _svg("The service under load for long: latency, memory, open files", len(charts) * _HEIGHT, parts)


def _svg(title: str, height: int, content: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{title}">\n<rect width="100%" height="100%" fill="white"/>\n{content}</svg>\n'
    )


def _chart(unit: str, lines: Sequence[Line], top: int, axis: str = "load, in multiples of the sustainable one") -> str:
    """A chart with axes that begin at zero. Many points get no circles, and labels at round values only."""
    loads = sorted({x for line in lines for x, _ in line.points})
    few = len(loads) <= _FEW_POINTS
    step = _round_step(max(y for line in lines for _, y in line.points) / _GRID_LINES)
    highest = step * _GRID_LINES
    right, bottom = _WIDTH - _RIGHT, top + _HEIGHT - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        height = _HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + x / loads[-1] * (right - _LEFT), 1), round(bottom - y / highest * height, 1)

    parts = [_label(_LEFT, top + _TOP - 16, unit, "start")]
    for number in range(_GRID_LINES + 1):
        value = number * step
        _, y = place(0, value)
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#e5e5e5"/>')
        parts.append(_label(_LEFT - 8, y + 4, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}", "end"))  # noqa: PLR2004  three digits
    every = _round_step(loads[-1] / _FEW_POINTS)
    labels = loads if few else [every * number for number in range(int(loads[-1] / every) + 1)]
    parts += [_label(place(label, 0)[0], bottom + 18, f"{label:g}", "middle") for label in labels]
    parts.append(_label((_LEFT + right) / 2, bottom + 36, axis, "middle"))
    for row, line in enumerate(lines):
        points = " ".join(f"{x},{y}" for x, y in (place(*point) for point in line.points))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{line.colour}" stroke-width="2"/>')
        circles = [place(*point) for point in line.points if few]
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{line.colour}"/>' for x, y in circles]
        y = top + _TOP + 20 * row
        parts.append(
            f'<line x1="{right + 16}" y1="{y}" x2="{right + 36}" y2="{y}" stroke="{line.colour}" stroke-width="2"/>'
        )
        parts.append(_label(right + 42, y + 4, line.name, "start"))
    return "\n".join(parts) + "\n"


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 and 10, times a power of ten, that is at least `least`."""
    magnitude: float = 10.0 ** math.floor(math.log10(least or 1))
    return next(digits * magnitude for digits in (1, 2, 2.5, 5, 10) if digits * magnitude >= least)


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {_TEXT}>{escape(text)}</text>'
