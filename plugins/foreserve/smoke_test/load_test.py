"""An open-loop load test of the lookup service: latency as callers see it, and the correctness of every answer.

Requests are sent at a set rate, whether or not earlier ones were answered. Latency counts from the time at which a
request was due. So a stall of the service shows in every request that was due meanwhile (no coordinated omission).

So does a stall of this process, which the load test measures: a machine without free CPU says nothing of the service.
"""

import asyncio
import logging
import math
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Literal
from urllib.parse import quote

import httpx
from hdrh.histogram import HdrHistogram

from foreserve.smoke_test import SmokeTest
from foreserve.smoke_test.comparison import Expectation, Finding, Kind, compare

_LONGEST_MICROSECONDS = 60_000_000
_SIGNIFICANT_DIGITS = 3
_TIMEOUT_SECONDS = 10.0
_WARM_UP_REQUESTS = 20
_PROBLEMS_OF_OLD_STATE = {"/problems/unknown-model", "/problems/unknown-version"}
_UP_TO_DATE_SECONDS = 60.0
"""The longest wait for processes of the service to read the registry. They read it each second; a replica of Bigtable
may get the receipt later than the cluster that was written."""
_UP_TO_DATE_PAUSE_SECONDS = 0.5
CONNECTIONS = 100
"""The number of connections. More requests wait here, not in the client's pool, which searches all of them for each."""

_PROGRESS_SECONDS = 5.0
_EXAMPLES = 5
_PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

_log = logging.getLogger(__name__)


Verdict = Literal["passed", "wrong", "errors", "slow", "late", "unconnected"]
"""The verdict of a load test: `wrong` answers, `errors` of the service, or a `slow` service; or else the load generator
is to blame, because it was `late`, or `unconnected`: it got no connection to the service."""

_TICK_SECONDS = 0.005
_STARVED = 0.25
"""A share of the objective. If the lag of the load generator exceeds it, the machine has too little free CPU."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One request.

    Attributes:
        entity_id: the entity that was looked up.
        due_seconds: the time at which the request was due, in seconds after the first one.
        milliseconds: the latency.
        finding: the error or the wrong answer; None if the answer was right.
        lag_ms: the part of the latency in which the load generator was stalled.
        service_ms: the time that the service took by its own account; None if it gave none.
    """

    entity_id: str
    due_seconds: float
    milliseconds: float
    finding: Finding | None
    lag_ms: float = 0.0
    service_ms: float | None = None


@dataclass(slots=True)
class LoadReport:
    """The figures of a load test. Latencies are in milliseconds; failed requests count with the time that they took."""

    requests: int = 0
    percentiles: dict[float, float] = field(default_factory=dict)
    max_ms: float = 0.0
    timings: list[Timing] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """The errors and the wrong answers in words."""
        return [timing.finding.problem for timing in self.timings if timing.finding is not None]

    @property
    def examples(self) -> list[str]:
        """Some of the problems."""
        return self.problems[:_EXAMPLES]

    @property
    def mismatches(self) -> int:
        """The number of wrong answers."""
        return sum(timing.finding is not None and timing.finding.kind == "wrong" for timing in self.timings)

    @property
    def errors(self) -> int:
        """The number of lookups without an answer, or with one that is an error."""
        return len(self.problems) - self.mismatches

    @property
    def entities(self) -> int:
        """The number of entities that were looked up."""
        return len({timing.entity_id for timing in self.timings})

    @property
    def lag_p99_ms(self) -> float:
        """The 99th percentile of the lag of the load generator."""
        return _p99([timing.lag_ms for timing in self.timings])

    @property
    def service_p99_ms(self) -> float | None:
        """The 99th percentile of the time that the service took by its own account; None if it gave none."""
        times = [timing.service_ms for timing in self.timings if timing.service_ms is not None]
        return _p99(times) if times else None

    def verdict(self, objective_p99_ms: float) -> Verdict:
        """Judge the service, unless the load generator is to blame.

        Args:
            objective_p99_ms: the largest 99th percentile of the latency.
        """
        kinds = {timing.finding.kind for timing in self.timings if timing.finding is not None}
        is_late = self.lag_p99_ms > _STARVED * objective_p99_ms
        if "wrong" in kinds:
            return "wrong"
        if "error" in kinds or ("timeout" in kinds and not is_late):
            return "errors"
        if "timeout" in kinds or ("unconnected" in kinds and is_late):
            return "late"
        if "unconnected" in kinds:
            return "unconnected"
        if self.p99_ms <= objective_p99_ms:
            return "passed"
        without_lag = _p99([timing.milliseconds - timing.lag_ms for timing in self.timings])
        return "late" if is_late or without_lag <= objective_p99_ms else "slow"

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
        self._stalls: list[tuple[float, float]] = []
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def run(self, expectations: Sequence[Expectation]) -> LoadReport:
        """Warm up until the service knows the version, send every request when it is due, and report.

        Args:
            expectations: the entities to look up, in turn; after the last one, from the start again.
        """
        await self._warm_up(expectations)
        loop = asyncio.get_running_loop()
        requests = self._smoke_test.requests
        async with self._watched():
            start = reported = loop.time()
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

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Record the stalls of this process, until the block ends."""
        watch = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_SECONDS
            await asyncio.sleep(_TICK_SECONDS)
            if (now := loop.time()) - due > _TICK_SECONDS:
                self._stalls.append((due, now))

    def _lag(self, begin: float, end: float) -> float:
        """The time for which this process was stalled between two times of the loop, in seconds."""
        lag = 0.0
        for stall_begin, stall_end in reversed(self._stalls):
            if stall_end <= begin:
                break
            lag += max(0.0, min(end, stall_end) - max(begin, stall_begin))
        return lag

    async def _measure(self, expectation: Expectation, due: float, start: float) -> None:
        """Look an entity up, and add latency and finding to the report. `due` and `start` are times of the loop."""
        loop = asyncio.get_running_loop()
        answer = await self._get(expectation)
        elapsed = loop.time() - due
        await asyncio.sleep(0)  # the watch records a stall in the same iteration of the loop, maybe after this task
        finding = self._examine(answer, expectation)
        self._report.timings.append(
            Timing(
                expectation.entity_id,
                due - start,
                elapsed * 1000,
                finding,
                self._lag(due, due + elapsed) * 1000,
                _service_ms(answer) if isinstance(answer, httpx.Response) else None,
            )
        )
        self._latencies.record_value(min(max(1, round(elapsed * 1e6)), _LONGEST_MICROSECONDS))

    def _examine(self, answer: httpx.Response | httpx.HTTPError, expectation: Expectation) -> Finding | None:
        """The problem of an answer; None if the answer is right."""
        if isinstance(answer, httpx.Response):
            finding = compare(answer, expectation, self._version)
        elif isinstance(answer, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            finding = Finding(f"{type(answer).__name__} {answer}", "unconnected")
        else:
            kind: Kind = "timeout" if isinstance(answer, httpx.TimeoutException) else "error"
            finding = Finding(f"{type(answer).__name__} {answer}", kind)
        return finding and replace(finding, problem=f"{self._url(expectation)}: {finding.problem}")

    async def _get(self, expectation: Expectation) -> httpx.Response | httpx.HTTPError:
        """The answer to a lookup, or the error if there is none."""
        async with self._free:
            try:
                return await self._client.get(
                    self._url(expectation), params={"version": self._version}, timeout=self._timeout
                )
            except httpx.HTTPError as error:
                return error

    def _url(self, expectation: Expectation) -> str:
        return self._path + _segment(expectation.entity_id)


def _p99(values: Sequence[float]) -> float:
    """The smallest value that 99 % of the values do not exceed."""
    return sorted(values)[math.ceil(0.99 * len(values)) - 1]


def _service_ms(response: httpx.Response) -> float | None:
    """The duration of the request in the header Server-Timing, in milliseconds; None if it is not there."""
    found = re.findall(r"total;dur=([\d.]+)", response.headers.get("server-timing", ""))
    return max(map(float, found), default=None)


def _is_behind(response: httpx.Response) -> bool:
    """Return True if the answer shows a state of the registry without the version."""
    try:
        return response.is_client_error and response.json()["type"] in _PROBLEMS_OF_OLD_STATE
    except (ValueError, LookupError, TypeError):
        return False


def _segment(entity_id: str) -> str:
    """The entity id as a segment of a path. Clients remove the segments `.` and `..` (RFC 3986, section 5.2.4)."""
    return quote(entity_id, safe="") if entity_id.strip(".") else entity_id.replace(".", "%2E")
