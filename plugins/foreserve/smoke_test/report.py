"""The report of a smoke test as a web page that needs nothing else: no server, no network, no script."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from foreserve.smoke_test import Load
from foreserve.smoke_test.load_test import LoadReport, Timing

_SLOWEST = 20
_PROBLEMS = 100
_SLOTS = 240
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_BOUNDS_MS = tuple(step * 10.0**power for power in range(-1, 5) for step in _STEPS)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart: its share of the highest one, and what it says when pointed at."""

    label: str
    height: float
    text: str
    is_bad: bool


def latency_page(
    *, title: str, api_url: str, path: str, version: int, load: Load, objective_p99_ms: float, report: LoadReport
) -> str:
    """An HTML page of what a load on the lookup service showed.

    Args:
        title: what was tested.
        api_url: the lookup service.
        path: the path of the lookups, without the entity id.
        version: the version that was read.
        load: what was asked for.
        objective_p99_ms: what the 99th percentile of the latency must not exceed, in milliseconds.
        report: what was measured.
    """
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    failures = [timing for timing in report.timings if timing.problem is not None]
    return templates.get_template("report.html").render(
        title=title,
        version=version,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        load=load,
        objective=objective_p99_ms,
        report=report,
        passed=not failures and report.p99_ms <= objective_p99_ms,
        entities=len({timing.entity_id for timing in report.timings}),
        histogram=_histogram(report.timings, objective_p99_ms),
        timeline=_timeline(report.timings, objective_p99_ms),
        last_due=max((timing.due_seconds for timing in report.timings), default=0.0),
        slowest=sorted(report.timings, key=lambda timing: -timing.milliseconds)[:_SLOWEST],
        failures=failures[:_PROBLEMS],
        failed=len(failures),
        address=lambda entity_id: f"{api_url}{path}{quote(entity_id, safe='')}?version={version}",
    )


def _histogram(timings: Sequence[Timing], objective_ms: float) -> list[Bar]:
    """How many answers took how long, from the fastest to the slowest."""
    bounds = (0.0, *_BOUNDS_MS, float("inf"))
    counts = [sum(low < t.milliseconds <= high for t in timings) for low, high in pairwise(bounds)]
    used = [index for index, count in enumerate(counts) if count]
    if not used:
        return []
    highest = max(counts)
    bars = []
    for index in range(used[0], used[-1] + 1):
        low, high, count = bounds[index], bounds[index + 1], counts[index]
        text = f"{count:,} answers in {low:g} to {high:g} ms"
        bars.append(Bar(f"{high:g}", count / highest, text, is_bad=low >= objective_ms))
    return bars


def _timeline(timings: Sequence[Timing], objective_ms: float) -> list[Bar]:
    """The slowest answer of each slice of the test, by when it was due."""
    if not timings:
        return []
    end = max(timing.due_seconds for timing in timings) or 1.0
    slots: dict[int, Timing] = {}
    for timing in timings:
        slot = min(int(timing.due_seconds / end * _SLOTS), _SLOTS - 1)
        if slot not in slots or timing.milliseconds > slots[slot].milliseconds:
            slots[slot] = timing
    highest = max(timing.milliseconds for timing in timings)
    return [
        Bar(
            label=str(slot),
            height=timing.milliseconds / highest,
            text=f"{timing.milliseconds:.1f} ms at {timing.due_seconds:.2f} s: {timing.entity_id}",
            is_bad=timing.milliseconds > objective_ms or timing.problem is not None,
        )
        for slot, timing in sorted(slots.items())
    ]
