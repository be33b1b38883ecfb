"""Open-loop load on the lookup service: latency as users would see it, and the correctness of every answer.

Requests leave at a set rate whether or not earlier ones were answered, and latency counts from when a request was due.
So a service that stalls shows its stall in every request that fell into it (no coordinated omission).
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
from hdrh.histogram import HdrHistogram

from foreserve.smoke_test import Load

_LONGEST_MICROSECONDS = 60_000_000
_SIGNIFICANT_DIGITS = 3
_WARM_UP_REQUESTS = 20
_PROGRESS_SECONDS = 5.0
_EXAMPLES = 5
_PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the service must answer for an entity: a JSON payload, or that there is no prediction (None)."""

    entity_id: str
    payload: str | None


@dataclass(frozen=True, slots=True)
class Timing:
    """One request: when it was due (seconds after the first), how long its answer took, what was wrong with it."""

    entity_id: str
    due_seconds: float
    milliseconds: float
    problem: str | None


@dataclass(slots=True)
class LoadReport:
    """What was measured. Latencies are in milliseconds; failed requests count with the time they took."""

    requests: int = 0
    errors: int = 0
    mismatches: int = 0
    examples: list[str] = field(default_factory=list)
    percentiles: dict[float, float] = field(default_factory=dict)
    max_ms: float = 0.0
    timings: list[Timing] = field(default_factory=list)

    @property
    def p50_ms(self) -> float:
        """Half of the answers were as fast as this."""
        return self.percentiles[50]

    @property
    def p95_ms(self) -> float:
        """95 % of the answers were as fast as this."""
        return self.percentiles[95]

    @property
    def p99_ms(self) -> float:
        """99 % of the answers were as fast as this."""
        return self.percentiles[99]

    def summary(self) -> dict[str, Any]:
        """The figures, without every request's."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "mismatches": self.mismatches,
            "examples": self.examples,
            "p50_ms": self.p50_ms,
            "p95_ms": self.p95_ms,
            "p99_ms": self.p99_ms,
            "max_ms": self.max_ms,
        }


async def measure(
    client: httpx.AsyncClient, model: str, version: int, expectations: Sequence[Expectation], load: Load
) -> LoadReport:
    """Put a load on the service behind `client`, reading a version of a model's predictions.

    Args:
        client: an HTTP client whose base URL is the service.
        model: the model's name.
        version: the version to read, active or not.
        expectations: what to ask for, in turn, again from the start when all have been asked.
        load: how much.
    """
    run = _Run(client, model, version, load)
    for index in range(_WARM_UP_REQUESTS):
        await run.ask(expectations[index % len(expectations)])
    return await run.at_rate(expectations)


class _Run:
    def __init__(self, client: httpx.AsyncClient, model: str, version: int, load: Load) -> None:
        self._client = client
        self._path = f"/v1/models/{quote(model, safe='')}/predictions/"
        self._version = version
        self._load = load
        self._latencies = HdrHistogram(1, _LONGEST_MICROSECONDS, _SIGNIFICANT_DIGITS)
        self._report = LoadReport()

    async def at_rate(self, expectations: Sequence[Expectation]) -> LoadReport:
        """Send every request when it is due, wait for the last answer, and report."""
        loop = asyncio.get_running_loop()
        start = reported = loop.time()
        async with asyncio.TaskGroup() as tasks:
            for index in range(self._load.requests):
                due = start + index / self._load.rate
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                tasks.create_task(self._timed(expectations[index % len(expectations)], due, start))
                if loop.time() - reported >= _PROGRESS_SECONDS:
                    reported = loop.time()
                    _log.info("sent %d of %d requests", index + 1, self._load.requests)
        report = self._report
        report.requests = self._load.requests
        report.percentiles = {p: self._latencies.get_value_at_percentile(p) / 1000 for p in _PERCENTILES}
        report.max_ms = self._latencies.get_max_value() / 1000
        return report

    async def _timed(self, expectation: Expectation, due: float, start: float) -> None:
        problem, is_mismatch = await self.ask(expectation)
        elapsed = asyncio.get_running_loop().time() - due
        self._report.timings.append(Timing(expectation.entity_id, due - start, elapsed * 1000, problem))
        self._latencies.record_value(min(max(1, round(elapsed * 1e6)), _LONGEST_MICROSECONDS))
        if problem is None:
            return
        if is_mismatch:
            self._report.mismatches += 1
        else:
            self._report.errors += 1
        if len(self._report.examples) < _EXAMPLES:
            self._report.examples.append(problem)

    async def ask(self, expectation: Expectation) -> tuple[str | None, bool]:
        """Ask for one entity; what is wrong with the answer, if anything, and whether it is a wrong prediction."""
        url = self._path + quote(expectation.entity_id, safe="")
        try:
            response = await self._client.get(url, params={"version": self._version}, timeout=self._load.timeout)
        except httpx.HTTPError as error:
            return f"{url}: {type(error).__name__} {error}", False
        try:
            answer = response.json()
        except ValueError:
            return f"{url}: HTTP {response.status_code}, not JSON: {response.text[:200]}", False
        if response.status_code == httpx.codes.NOT_FOUND and answer.get("type") == "/problems/no-prediction":
            return (None if expectation.payload is None else f"{url}: no prediction, expected one"), True
        if response.status_code != httpx.codes.OK:
            return f"{url}: HTTP {response.status_code} {response.text[:200]}", False
        return _mismatch(url, answer, expectation, self._version), True


def _mismatch(url: str, answer: dict[str, Any], expectation: Expectation, version: int) -> str | None:
    if answer["version"] != version:
        return f"{url}: answered from version {answer['version']} instead of {version}"
    if expectation.payload is None:
        return f"{url}: answered with a prediction, expected none"
    if answer["prediction"] != json.loads(expectation.payload):
        return f"{url}: answered with another prediction than BigQuery's"
    return None
