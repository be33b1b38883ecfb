"""The smoke test as a task."""

from __future__ import annotations

import asyncio
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
    from foreserve.smoke_test.load_test import LoadReport
    from foreserve.smoke_test.report import ReportFolder
    from prediction_store.details import SmokeTestResult


_SAMPLED_BYTES = 10 * 2**30
"""The size from which blocks of a table are sampled. They have about 1 GB, so that about ten are read.

Source: https://cloud.google.com/bigquery/docs/table-sampling
"""


class RunSmokeTest(RefreshOperator):
    """Looks entities up in the new version at a set rate, before the version is promoted."""

    operator_extra_links = (LatencyReportLink(),)

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
        """Run the load test, record and publish the result, and compare it with the objective.

        Raises:
            AirflowFailException: an answer was an error or wrong.
            AirflowException: the 99th percentile of the latency exceeds the objective.
        """
        refresh, smoke_test = self.refresh, self.smoke_test.with_choices(context["params"])
        self.step()  # the load test may take long, so the run lease is renewed before
        expectations = self._sample(smoke_test.requests)
        if not expectations:
            raise AirflowFailException(f"{refresh.predictions_table} is empty: there is nothing to test")
        report = asyncio.run(self._measure(expectations, smoke_test))
        self.log.info(
            "%d lookups of %d entities at %g/s: p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms",
            report.requests,
            len(expectations),
            smoke_test.rate,
            report.p50_ms,
            report.p95_ms,
            report.p99_ms,
            report.max_ms,
        )
        result: SmokeTestResult = {
            "requests": report.requests,
            "errors": report.errors,
            "mismatches": report.mismatches,
            "examples": report.examples,
            "p50_ms": report.p50_ms,
            "p95_ms": report.p95_ms,
            "p99_ms": report.p99_ms,
            "max_ms": report.max_ms,
            "rate": smoke_test.rate,
            "objective_p99_ms": smoke_test.objective_p99_ms,
        }
        if self.reports:
            address = self._publish(self.reports, smoke_test, report, context["ti"].try_number)
            LatencyReportLink.store(context, address)
            result["latency_report"] = address
        self.step(lambda state: state.note(refresh.version, smoke_test=result))
        if report.errors or report.mismatches:
            raise AirflowFailException(
                f"{report.errors} errors and {report.mismatches} wrong answers; the first: {'; '.join(report.examples)}"
            )
        if report.p99_ms > smoke_test.objective_p99_ms:
            raise AirflowException(
                f"p99 is {report.p99_ms:.1f} ms; the objective is {smoke_test.objective_p99_ms:g} ms"
            )
        return result

    async def _measure(self, expectations: Sequence[Expectation], smoke_test: SmokeTest) -> LoadReport:
        import httpx

        from foreserve.smoke_test.load_test import LoadTest

        async with httpx.AsyncClient(base_url=self.cloud.api_url(), auth=self.cloud.api_auth()) as client:
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
