"""The lookup service, before and after the promotion of a version."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import AirflowException, AirflowFailException
from foreserve.links import LatencyReportLink, ServedVersionLink
from foreserve.operators.base import CloudOperator, RefreshOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx
    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.refresh import Refresh
    from foreserve.reports import Reports
    from foreserve.smoke_test import Load
    from foreserve.smoke_test.load_test import Expectation, LoadReport

_POLL_SECONDS = 0.5


class SmokeTest(RefreshOperator):
    """Reads the new version through the service, under load, before anyone is served from it."""

    operator_extra_links = (LatencyReportLink(),)

    def __init__(self, *, load: Load, objective_p99_ms: float, reports: Reports | None, **kwargs: Any) -> None:
        """Put a load on the service; fail above an objective, or at any error or wrong answer.

        Args:
            load: how much, where the trigger form does not say.
            objective_p99_ms: 99th percentile of the latency in milliseconds, where the trigger form does not say.
            reports: where to leave a report that a person can open.
            kwargs: those of every task on an open version.
        """
        super().__init__(**kwargs)
        self.load = load
        self.objective_p99_ms = objective_p99_ms
        self.reports = reports

    def execute(self, context: Context) -> dict[str, Any]:
        """Measure, record, report, and judge."""
        refresh, load, objective = self.current, *self._wanted(context["params"])
        self.step(lambda state: state)
        expectations = self._sample(refresh, load.requests)
        if not expectations:
            raise AirflowFailException(f"{refresh.predictions_table} is empty: there is nothing to test")
        report = asyncio.run(self._measure(refresh, expectations, load))
        self.log.info(
            "%d lookups of %d entities at %g/s: p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms",
            *(report.requests, len(expectations), load.rate),
            *(report.p50_ms, report.p95_ms, report.p99_ms, report.max_ms),
        )
        result = {**report.summary(), "rate": load.rate, "objective_p99_ms": objective}
        if self.reports:
            address = self._publish(self.reports, refresh, report, load, objective, context["ti"].try_number)
            LatencyReportLink.keep(context, address)
            result["latency_report"] = address
        with self.cloud.registry() as registry:
            registry.update(refresh.model, lambda state: state.note(refresh.version, smoke_test=result))
        if report.errors or report.mismatches:
            raise AirflowFailException(
                f"{report.errors} errors and {report.mismatches} wrong answers; the first: {'; '.join(report.examples)}"
            )
        if report.p99_ms > objective:
            raise AirflowException(f"p99 is {report.p99_ms:.1f} ms; the objective is {objective:g} ms")
        return result

    def _wanted(self, params: Mapping[str, Any]) -> tuple[Load, float]:
        """The load and the objective: the trigger form's, or else the pipeline's."""
        load = replace(
            self.load,
            requests=params["smoke_test_requests"] or self.load.requests,
            rate=params["smoke_test_rate"] or self.load.rate,
        )
        return load, params["smoke_test_objective_p99_ms"] or self.objective_p99_ms

    async def _measure(self, refresh: Refresh, expectations: Sequence[Expectation], load: Load) -> LoadReport:
        import httpx

        from foreserve.smoke_test.load_test import measure

        async with httpx.AsyncClient(base_url=self.cloud.api_url(), auth=self.cloud.api_auth()) as client:
            return await measure(client, refresh.model, refresh.version, expectations, load)

    def _publish(
        self, reports: Reports, refresh: Refresh, report: LoadReport, load: Load, objective: float, attempt: int
    ) -> str:
        """Leave the report where people find it; its address."""
        from foreserve.smoke_test.report import latency_page

        page = latency_page(
            title=refresh.model,
            api_url=self.cloud.api_url(),
            path=f"/v1/models/{refresh.model}/predictions/",
            version=refresh.version,
            load=load,
            objective_p99_ms=objective,
            report=report,
        )
        address = reports.write(f"{refresh.model}/{refresh.version}/smoke-test-{attempt}.html", page)
        self.log.info("latency report: %s", address)
        return address

    def _sample(self, refresh: Refresh, size: int) -> list[Expectation]:
        """Entities at random: half of them from what changed (tombstones too), half from all predictions."""
        from foreserve.smoke_test.load_test import Expectation

        client = self.cloud.bigquery()
        changed = _random_rows(client, refresh.changes_table, size // 2)
        rows = changed + _random_rows(client, refresh.predictions_table, size - len(changed))
        return [Expectation(entity_id, payload) for entity_id, payload in rows]


class ConfirmServed(CloudOperator):
    """Waits until the service answers from a version."""

    operator_extra_links = (ServedVersionLink(),)
    template_fields: Sequence[str] = ("model", "version")

    def __init__(self, *, model: str, version: Any, timeout_seconds: float = 60, **kwargs: Any) -> None:
        """Wait for `version` of `model`; fail after `timeout_seconds`."""
        super().__init__(**kwargs)
        self.model = model
        self.version = version
        self.timeout_seconds = timeout_seconds

    def execute(self, context: Context) -> None:
        """Ask the service for its active version until it is the one."""
        import httpx

        version = int(self.version)
        url = self.cloud.api_url()
        ServedVersionLink.keep(context, f"{url}/v1/models/{self.model}")
        deadline = time.monotonic() + self.timeout_seconds
        with httpx.Client(base_url=url, auth=self.cloud.api_auth(), timeout=5) as client:
            while (served := _served_version(client, self.model)) != version:
                if time.monotonic() >= deadline:
                    problem = f"after {self.timeout_seconds:g} s {url} serves {self.model} from {served}"
                    raise AirflowFailException(f"{problem}, not from {version}")
                time.sleep(_POLL_SECONDS)
        with self.cloud.registry() as registry:
            registry.update(self.model, lambda state: state.confirm(version))
        self.log.info("%s serves %s from version %d", url, self.model, version)


def _random_rows(client: bigquery.Client, table: str, rows: int) -> list[tuple[str, str | None]]:
    """About `rows` rows of a table of predictions or changes, or all of a smaller one, without sorting it."""
    from google.cloud.bigquery import QueryJobConfig, ScalarQueryParameter

    sql = f"""
        SELECT entity_id, payload FROM `{table}`
        WHERE RAND() < 1.2 * @rows / (SELECT COUNT(*) + 1 FROM `{table}`)
        LIMIT {rows}
    """
    config = QueryJobConfig(query_parameters=[ScalarQueryParameter("rows", "INT64", rows)])
    return [(row.entity_id, row.payload) for row in client.query_and_wait(sql, job_config=config)]


def _served_version(client: httpx.Client, model: str) -> int | str | None:
    import httpx

    try:
        response = client.get(f"/v1/models/{model}")
        return response.json()["active_version"] if response.is_success else f"nothing (HTTP {response.status_code})"
    except (httpx.HTTPError, json.JSONDecodeError) as error:
        return f"nothing ({type(error).__name__})"
