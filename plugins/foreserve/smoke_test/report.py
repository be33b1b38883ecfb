"""The latency report: a web page about a smoke test, without scripts, and the folder in which people find it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreserve.smoke_test import SmokeTest
    from foreserve.smoke_test.load_test import LoadReport, Timing

_SLOWEST = 20
_PROBLEMS = 100
_SLOTS = 240
_STEPS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
_BOUNDS_MS = tuple(step * 10.0**power for power in range(-1, 5) for step in _STEPS)
_CLOUD_STORAGE = "gs://"


@dataclass(frozen=True, slots=True)
class ReportFolder:
    """A folder of reports, on this machine or in Cloud Storage.

    Attributes:
        folder: a path, or gs://BUCKET/FOLDER.
        url: the address of the folder for a browser; None: a file: address, or that of Cloud Storage's browser.
        gcp_conn_id: the Airflow connection to Google Cloud.
    """

    folder: str
    url: str | None
    gcp_conn_id: str

    def write(self, name: str, page: str) -> str:
        """Write an HTML page; return its address for a browser.

        Args:
            name: the page's path in the folder.
            page: its content.
        """
        folder = self.folder.rstrip("/")
        if folder.startswith(_CLOUD_STORAGE):
            from airflow.providers.google.cloud.hooks.gcs import GCSHook

            bucket, _, path = f"{folder.removeprefix(_CLOUD_STORAGE)}/{name}".partition("/")
            GCSHook(gcp_conn_id=self.gcp_conn_id).upload(bucket, path, data=page, mime_type="text/html")
            default = f"https://storage.cloud.google.com/{bucket}/{quote(path)}"
        else:
            file = Path(folder, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(page)
            default = file.absolute().as_uri()
        return f"{self.url.rstrip('/')}/{quote(name)}" if self.url else default


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a chart. `height` is its share of the highest one; `text` is its tooltip."""

    label: str
    height: float
    text: str
    is_bad: bool


def report_page(model: str, version: int, smoke_test: SmokeTest, report: LoadReport, api_url: str) -> str:
    """An HTML page about a smoke test.

    Args:
        model: the model's name.
        version: the version that was read.
        smoke_test: the load and its objective.
        report: the figures.
        api_url: the base URL of the lookup service.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    objective = smoke_test.objective_p99_ms
    failures = [timing for timing in report.timings if timing.finding is not None]
    predictions = f"{api_url}/v1/models/{quote(model, safe='')}/predictions"
    return templates.get_template("report.html").render(
        title=model,
        version=version,
        written=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        smoke_test=smoke_test,
        report=report,
        verdict=report.verdict(objective),
        histogram=_histogram(report.timings, objective),
        timeline=_timeline(report.timings, objective),
        last_due=max((timing.due_seconds for timing in report.timings), default=0.0),
        slowest=sorted(report.timings, key=lambda timing: -timing.milliseconds)[:_SLOWEST],
        failures=failures[:_PROBLEMS],
        failed=len(failures),
        address=lambda entity_id: f"{predictions}/{quote(entity_id, safe='')}?version={version}",
    )


def _histogram(timings: Sequence[Timing], objective_ms: float) -> list[Bar]:
    """The number of answers by latency, from the fastest to the slowest."""
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
    """The slowest answer of each slice of the test, by the time at which it was due."""
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
            is_bad=timing.milliseconds > objective_ms or timing.finding is not None,
        )
        for slot, timing in sorted(slots.items())
    ]
