"""An open-loop load test of the lookup service: latency as callers see it, and the correctness of every answer.

Requests are sent at a set rate, whether or not earlier ones were answered. Latency counts from the time at which a
request was due. So a stall of the service shows in every request that was due meanwhile (no coordinated omission).
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import quote

import httpx
from hdrh.histogram import HdrHistogram

from foreserve.smoke_test import SmokeTest
from foreserve.smoke_test.comparison import Expectation, Finding, compare

_LONGEST_MICROSECONDS = 60_000_000
_SIGNIFICANT_DIGITS = 3
_TIMEOUT_SECONDS = 10.0
_WARM_UP_REQUESTS = 20
_PROBLEMS_OF_OLD_STATE = {"/problems/unknown-model", "/problems/unknown-version"}
_UP_TO_DATE_SECONDS = 60.0
"""The longest wait for processes of the service to read the registry. They read it each second; a replica of Bigtable
may get the receipt later than the cluster that was written."""
_UP_TO_DATE_PAUSE_SECONDS = 0.5
_PROGRESS_SECONDS = 5.0
_EXAMPLES = 5
_PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """One request.

    Attributes:
        entity_id: the entity that was looked up.
        due_seconds: the time at which the request was due, in seconds after the first one.
        milliseconds: the latency.
        problem: the error or the wrong answer in words; None if the answer was right.
    """

    entity_id: str
    due_seconds: float
    milliseconds: float
    problem: str | None


@dataclass(slots=True)
class LoadReport:
    """The figures of a load test. Latencies are in milliseconds; failed requests count with the time that they took."""

    requests: int = 0
    errors: int = 0
    mismatches: int = 0
    examples: list[str] = field(default_factory=list)
    percentiles: dict[float, float] = field(default_factory=dict)
    max_ms: float = 0.0
    timings: list[Timing] = field(default_factory=list)

    @property
    def p50_ms(self) -> float:
        """The median of the latencies."""
        return self.percentiles[50]

    @property
    def p95_ms(self) -> float:
        """The 95th percentile of the latencies."""
        return self.percentiles[95]

    @property
    def p99_ms(self) -> float:
        """The 99th percentile of the latencies."""
        return self.percentiles[99]


class LoadTest:
    """A load on the service that reads one version of a model's predictions. Use it once."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        model: str,
        version: int,
        smoke_test: SmokeTest,
        timeout: float = _TIMEOUT_SECONDS,
        up_to_date_seconds: float = _UP_TO_DATE_SECONDS,
    ) -> None:
        """Prepare the load.

        Args:
            client: an HTTP client whose base URL is the service.
            model: the model's name.
            version: the version to read, active or not.
            smoke_test: the number of requests and their rate.
            timeout: the time after which a request is given up, in seconds.
            up_to_date_seconds: the longest wait for the service to know the version, before the load begins.
        """
        self._client = client
        self._path = f"/v1/models/{quote(model, safe='')}/predictions/"
        self._version = version
        self._smoke_test = smoke_test
        self._timeout = timeout
        self._up_to_date_seconds = up_to_date_seconds
        self._latencies = HdrHistogram(1, _LONGEST_MICROSECONDS, _SIGNIFICANT_DIGITS)
        self._report = LoadReport()

    async def run(self, expectations: Sequence[Expectation]) -> LoadReport:
        """Warm up until the service knows the version, send every request when it is due, and report.

        Args:
            expectations: the entities to look up, in turn; after the last one, from the start again.
        """
        await self._warm_up(expectations)
        loop = asyncio.get_running_loop()
        start = reported = loop.time()
        requests = self._smoke_test.requests
        async with asyncio.TaskGroup() as tasks:
            for index in range(requests):
                due = start + index / self._smoke_test.rate
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                tasks.create_task(self._measure(expectations[index % len(expectations)], due, start))
                if loop.time() - reported >= _PROGRESS_SECONDS:
                    reported = loop.time()
                    _log.info("sent %d of %d requests", index + 1, requests)
        report = self._report
        report.requests = requests
        report.percentiles = {p: self._latencies.get_value_at_percentile(p) / 1000 for p in _PERCENTILES}
        report.max_ms = self._latencies.get_max_value() / 1000
        return report

    async def _warm_up(self, expectations: Sequence[Expectation]) -> None:
        """Look entities up in rounds, until no answer of a round comes from a process that does not know the version.

        Each process of the service reads the registry by itself. A round has enough requests to reach several of them.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._up_to_date_seconds
        while True:
            answers = [await self._get(expectations[i % len(expectations)]) for i in range(_WARM_UP_REQUESTS)]
            behind = sum(isinstance(answer, httpx.Response) and _is_behind(answer) for answer in answers)
            if not behind or loop.time() > give_up:
                return
            _log.info("%d of %d answers: the service does not know the version yet; waiting", behind, len(answers))
            await asyncio.sleep(_UP_TO_DATE_PAUSE_SECONDS)

    async def _measure(self, expectation: Expectation, due: float, start: float) -> None:
        """Look an entity up, and add latency and finding to the report. `due` and `start` are times of the loop."""
        finding = await self._look_up(expectation)
        elapsed = asyncio.get_running_loop().time() - due
        report = self._report
        problem = None if finding is None else finding.problem
        report.timings.append(Timing(expectation.entity_id, due - start, elapsed * 1000, problem))
        self._latencies.record_value(min(max(1, round(elapsed * 1e6)), _LONGEST_MICROSECONDS))
        if finding is None:
            return
        report.mismatches += finding.is_mismatch
        report.errors += not finding.is_mismatch
        if len(report.examples) < _EXAMPLES:
            report.examples.append(finding.problem)

    async def _look_up(self, expectation: Expectation) -> Finding | None:
        url = self._url(expectation)
        response = await self._get(expectation)
        if isinstance(response, httpx.HTTPError):
            return Finding(f"{url}: {type(response).__name__} {response}", is_mismatch=False)
        finding = compare(response, expectation, self._version)
        return None if finding is None else replace(finding, problem=f"{url}: {finding.problem}")

    async def _get(self, expectation: Expectation) -> httpx.Response | httpx.HTTPError:
        """The answer to a lookup, or the error if there is none."""
        try:
            return await self._client.get(
                self._url(expectation), params={"version": self._version}, timeout=self._timeout
            )
        except httpx.HTTPError as error:
            return error

    def _url(self, expectation: Expectation) -> str:
        return self._path + _segment(expectation.entity_id)


def _is_behind(response: httpx.Response) -> bool:
    """Return True if the answer shows a state of the registry without the version."""
    try:
        return response.is_client_error and response.json()["type"] in _PROBLEMS_OF_OLD_STATE
    except (ValueError, LookupError, TypeError):
        return False


def _segment(entity_id: str) -> str:
    """The entity id as a segment of a path. Clients remove the segments `.` and `..` (RFC 3986, section 5.2.4)."""
    return quote(entity_id, safe="") if entity_id.strip(".") else entity_id.replace(".", "%2E")
