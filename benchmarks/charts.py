"""Charts as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.document import short

COLOURS = ("#1f5fa8", "#c0392b", "#1b7f4b", "#b07d00", "#7d3c98", "#7fb2e5", "#666666", "#e67e22")

_WIDTH, _HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 170, 44, 48
_GRID_LINES = 4
_FEW_POINTS = 12
_DIGITS = 3
_BAR_PITCH, _BAR_LEFT, _BAR_RIGHT = 24, 300, 80
_TEXT = 'font-family="system-ui, sans-serif" font-size="12" fill="#333"'


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a chart: its name, and its points."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes of a chart of lines: the unit of the vertical one, the title of the other, and logarithms or not."""

    unit: str
    title: str
    logarithmic: bool = False


def svg(title: str, *charts: str) -> str:
    """A picture of charts, one below the other."""
    heights = [int(chart.split(" ", 1)[0]) for chart in charts]
    parts, top = [], 0
    for chart, height in zip(charts, heights, strict=True):
        parts.append(f'<g transform="translate(0,{top})">\n{chart.split(" ", 1)[1]}</g>\n')
        top += height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img" '
        f'aria-label="{escape(title)}">\n<rect width="100%" height="100%" fill="white"/>\n{"".join(parts)}</svg>\n'
    )


def line_chart(axes: Axes, lines: Sequence[Line]) -> str:
    """A chart of lines, for `svg`. Linear axes begin at zero. Many points have no circles, and round labels."""
    xs, ys = zip(*(point for line in lines for point in line.points), strict=True)
    y_axis = _Scale.of(ys, logarithmic=axes.logarithmic)
    x_axis = _Scale.of(xs, logarithmic=True) if axes.logarithmic else _Scale(0, max(xs), logarithmic=False)
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across, up = x_axis.share(x) * (right - _LEFT), y_axis.share(y) * (bottom - _TOP)
        return round(_LEFT + across, 1), round(bottom - up, 1)

    parts = [_label(_LEFT, _TOP - 16, axes.unit, "start")]
    for value in y_axis.ticks():
        y = place(xs[0], value)[1]
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#e5e5e5"/>')
        parts.append(_label(_LEFT - 8, y + 4, _number(value), "end"))
    few = len(set(xs)) <= _FEW_POINTS
    every = _round_step(max(xs) / _FEW_POINTS)
    labels = sorted(set(xs)) if few else [every * number for number in range(int(max(xs) / every) + 1)]
    parts += [_label(place(x, ys[0])[0], bottom + 18, _number(x), "middle") for x in labels]
    parts.append(_label((_LEFT + right) / 2, bottom + 36, axes.title, "middle"))
    for row, (line, colour) in enumerate(zip(lines, COLOURS, strict=False)):
        points = [place(*point) for point in sorted(line.points)]
        path = " ".join(f"{x},{y}" for x, y in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        circles = points if few else []
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in circles]
        y = _TOP + 20 * row
        parts.append(
            f'<line x1="{right + 12}" y1="{y}" x2="{right + 30}" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        )
        parts.append(_label(right + 36, y + 4, line.name, "start"))
    return f"{_HEIGHT} " + "\n".join(parts) + "\n"


def bar_chart(unit: str, bars: Sequence[tuple[str, float]]) -> str:
    """A chart of horizontal bars, for `svg`, on a logarithmic axis. Each bar has its value."""
    axis = _Scale.of([value for _, value in bars], logarithmic=True)
    parts = [_label(_BAR_LEFT, _TOP - 16, f"{unit}, logarithmic", "start")]
    for row, (name, value) in enumerate(bars):
        y = _TOP + _BAR_PITCH * row
        width = round(axis.share(value) * (_WIDTH - _BAR_RIGHT - _BAR_LEFT), 1)
        colour = COLOURS[0] if name.startswith("Foreserve") else COLOURS[-2]
        parts.append(_label(_BAR_LEFT - 8, y + 13, name, "end"))
        parts.append(f'<rect x="{_BAR_LEFT}" y="{y}" width="{max(width, 1)}" height="17" fill="{colour}"/>')
        parts.append(_label(_BAR_LEFT + width + 6, y + 13, short(value), "start"))
    return f"{_TOP + _BAR_PITCH * len(bars) + 12} " + "\n".join(parts) + "\n"


@dataclass(frozen=True, slots=True)
class _Scale:
    """The range of an axis."""

    lowest: float
    highest: float
    logarithmic: bool

    @classmethod
    def of(cls, values: Sequence[float], *, logarithmic: bool) -> "_Scale":
        """The range from a power of ten to another, or from zero to some equal steps."""
        if logarithmic:
            positive = [value for value in values if value > 0] or [1.0]
            low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
            return cls(10.0**low, 10.0 ** max(high, low + 1), logarithmic)
        return cls(0, _round_step(max(values) / _GRID_LINES) * _GRID_LINES, logarithmic)

    def share(self, value: float) -> float:
        """The place of a value on the axis, from 0 to 1."""
        if not self.logarithmic:
            return value / self.highest
        if value <= self.lowest:
            return 0.0
        return math.log10(value / self.lowest) / math.log10(self.highest / self.lowest)

    def ticks(self) -> list[float]:
        """The values with a line."""
        if self.logarithmic:
            powers = round(math.log10(self.highest / self.lowest))
            return [self.lowest * 10.0**power for power in range(powers + 1)]
        return [self.highest / _GRID_LINES * step for step in range(_GRID_LINES + 1)]


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 and 10, times a power of ten, that is at least `least`."""
    magnitude: float = 10.0 ** math.floor(math.log10(least or 1))
    return next(digits * magnitude for digits in (1, 2, 2.5, 5, 10) if digits * magnitude >= least)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10**_DIGITS else f"{value:.{_DIGITS}g}"


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" {_TEXT}>{escape(text)}</text>'
