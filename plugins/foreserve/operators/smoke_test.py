"""The smoke test as a task."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import AirflowException, AirflowFailException
from foreserve.links import LatencyReportLink
from foreserve.operators.base import RefreshOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.smoke_test import SmokeTest
    from foreserve.smoke_test.comparison import Expectation
    from foreserve.smoke_test.load_test import LoadReport, Verdict
    from foreserve.smoke_test.report import ReportFolder
    from prediction_store.details import SmokeTestResult


_SAMPLED_BYTES = 10 * 2**30
"""The size from which blocks of a table are sampled. They have about 1 GB, so that about ten are read.

Source: https://cloud.google.com/bigquery/docs/table-sampling
"""


_ATTEMPTS = 3
_PAUSE_SECONDS = 5.0

_TO_BLAME: dict[Verdict, str] = {
    "late": "the load generator was late, as the machine of this task has no free CPU",
    "unconnected": "the load generator got no connection to the service",
}
"""The verdicts for which the load generator is to blame, in words."""


class RunSmokeTest(RefreshOperator):
    """Looks entities up in the new version at a set rate, before the version is promoted."""

    operator_extra_links = (LatencyReportLink(),)
    pause_seconds = _PAUSE_SECONDS
    """The time before the load test is run again."""

    def __init__(self, *, smoke_test: SmokeTest, reports: ReportFolder | None, **kwargs: Any) -> None:
        """Test the service.

        Args:
            smoke_test: the load and its objective, unless the trigger form has others.
            reports: the folder for the latency report; None: no report.
            kwargs: those of `RefreshOperator`.
        """
        super().__init__(**kwargs)
        self.smoke_test = smoke_test
        self.reports = reports

    def execute(self, context: Context) -> SmokeTestResult:
        """Run the load test, record and publish the result, and judge it.

        The load test is run again if the load generator was to blame.

        Raises:
            AirflowFailException: an answer was an error or wrong.
            AirflowException: the 99th percentile of the latency exceeds the objective, or the load generator was to
                blame each time.
        """
        refresh, smoke_test = self.refresh, self.smoke_test.with_choices(context["params"])
        self.step()  # the load test may take long, so the run lease is renewed before
        expectations = self._sample(smoke_test.requests)
        if not expectations:
            raise AirflowFailException(f"{refresh.predictions_table} is empty: there is nothing to test")
        for attempt in range(1, _ATTEMPTS + 1):
            report = asyncio.run(self._measure(expectations, smoke_test))
            verdict = report.verdict(smoke_test.objective_p99_ms)
            self.log.info("%s: %s", verdict, _in_words(report, smoke_test))
            if verdict not in _TO_BLAME or attempt == _ATTEMPTS:
                break
            self.log.warning("%s; measuring again (%d of %d)", _TO_BLAME[verdict], attempt + 1, _ATTEMPTS)
            time.sleep(self.pause_seconds)
        result: SmokeTestResult = {
            "verdict": verdict,
            "requests": report.requests,
            "errors": report.errors,
            "mismatches": report.mismatches,
            "examples": report.examples,
            "p50_ms": report.p50_ms,
            "p95_ms": report.p95_ms,
            "p99_ms": report.p99_ms,
            "max_ms": report.max_ms,
            "service_p99_ms": report.service_p99_ms,
            "lag_p99_ms": report.lag_p99_ms,
            "rate": smoke_test.rate,
            "objective_p99_ms": smoke_test.objective_p99_ms,
        }
        try:
            if self.reports:
                address = self._publish(self.reports, smoke_test, report, context["ti"].try_number)
                LatencyReportLink.store(context, address)
                result["latency_report"] = address
        finally:  # a report that cannot be written hides no verdict
            self.step(lambda state: state.note(refresh.version, smoke_test=result))
            _raise_unless_passed(verdict, report, smoke_test)
        return result

    async def _measure(self, expectations: Sequence[Expectation], smoke_test: SmokeTest) -> LoadReport:
        import httpx

        from foreserve.smoke_test.load_test import CONNECTIONS, LoadTest

        limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
        url, auth = self.cloud.api_url(), self.cloud.api_auth()
        async with httpx.AsyncClient(base_url=url, auth=auth, limits=limits) as client:
            return await LoadTest(client, self.refresh.model, self.refresh.version, smoke_test).run(expectations)

    def _publish(self, reports: ReportFolder, smoke_test: SmokeTest, report: LoadReport, attempt: int) -> str:
        """Write the latency report; return its address."""
        from foreserve.smoke_test.report import report_page

        model, version = self.refresh.model, self.refresh.version
        page = report_page(model, version, smoke_test, report, self.cloud.api_url())
        address = reports.write(f"{model}/{version}/smoke-test-{attempt}.html", page)
        self.log.info("latency report: %s", address)
        return address

    def _sample(self, size: int) -> list[Expectation]:
        """Random entities: half of them from the changes (tombstones too), half from all predictions."""
        from foreserve.smoke_test.comparison import Expectation

        client = self.cloud.bigquery()
        changed = _random_rows(client, self.refresh.changes_table, size // 2)
        rows = changed + _random_rows(client, self.refresh.predictions_table, size - len(changed))
        return [Expectation(entity_id, payload) for entity_id, payload in rows]


def _in_words(report: LoadReport, smoke_test: SmokeTest) -> str:
    latencies = {"p50": report.p50_ms, "p95": report.p95_ms, "p99": report.p99_ms, "max": report.max_ms}
    if report.service_p99_ms is not None:
        latencies["p99 by the service's own account"] = report.service_p99_ms
    latencies["p99 of the load generator's lag"] = report.lag_p99_ms
    load = f"{report.requests} lookups of {report.entities} entities at {smoke_test.rate:g}/s"
    return f"{load}: {', '.join(f'{name} {value:.1f} ms' for name, value in latencies.items())}"


def _raise_unless_passed(verdict: Verdict, report: LoadReport, smoke_test: SmokeTest) -> None:
    fields = (
        "load and objective are set by smoke_test_requests, smoke_test_rate and smoke_test_objective_p99_ms in the "
        "trigger form, and by smoke_test in pipeline.yaml"
    )
    if verdict in _TO_BLAME:
        example = f": {report.examples[0]}" if report.examples else ""
        raise AirflowException(f"the service was not judged, because {_TO_BLAME[verdict]}{example}; {fields}")
    if verdict in ("wrong", "errors"):
        raise AirflowFailException(
            f"{report.errors} errors and {report.mismatches} wrong answers; the first: {'; '.join(report.examples)}"
        )
    if verdict == "slow":
        service = report.service_p99_ms
        within = "" if service is None else f" (by the service's own account {service:.1f} ms)"
        objective = f"the objective is {smoke_test.objective_p99_ms:g} ms"
        raise AirflowException(f"p99 is {report.p99_ms:.1f} ms{within}; {objective}; {fields}")


def _random_rows(client: bigquery.Client, table: str, rows: int) -> list[tuple[str, str | None]]:
    """Random rows of a table of predictions or changes, about `rows` of them, without sorting; all if it has fewer."""
    found = client.get_table(table)
    sql = sample_query(table, rows, found.num_rows or 0, found.num_bytes or 0)
    return [(row.entity_id, row.payload) for row in client.query_and_wait(sql)]


def sample_query(table: str, rows: int, table_rows: int, table_bytes: int) -> str:
    """A query of about `rows` random rows of a table. It reads some of the blocks of a large table only."""
    read = min(1.0, _SAMPLED_BYTES / max(table_bytes, 1))
    blocks = f" TABLESAMPLE SYSTEM ({100 * read:f} PERCENT)" if read < 1 else ""
    share = 1.2 * rows / (table_rows * read + 1)
    return f"SELECT entity_id, payload FROM `{table}`{blocks} WHERE RAND() < {share!r} LIMIT {rows}"
