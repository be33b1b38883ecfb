"""The look-up service, before and after the promotion of a version."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException

from foreserve.operators.base import CloudOperator, RefreshOperator

if TYPE_CHECKING:
    from collections.abc import Sequence

    import httpx
    from airflow.sdk import Context
    from google.cloud import bigquery

    from foreserve.open_loop import Expectation, Load
    from foreserve.refresh import Refresh

_POLL_SECONDS = 0.5


class SmokeTest(RefreshOperator):
    """Reads the new version through the service, under load, before anyone is served from it."""

    def __init__(self, *, load: Load, objective_p99_ms: float, **kwargs: Any) -> None:
        """Put `load` on the service; fail above `objective_p99_ms`, or at any error or wrong answer."""
        super().__init__(**kwargs)
        self.load = load
        self.objective_p99_ms = objective_p99_ms

    def execute(self, context: Context) -> dict[str, Any]:
        """Measure, record, and judge."""
        refresh = self.current
        expectations = self._sample(refresh)
        if not expectations:
            raise AirflowFailException(f"{refresh.predictions_table} is empty: there is nothing to test")
        report = asyncio.run(self._measure(refresh, expectations))
        result = {**asdict(report), "rate": self.load.rate, "objective_p99_ms": self.objective_p99_ms}
        with self.cloud.registry() as registry:
            registry.update(refresh.model, lambda state: state.note(refresh.version, smoke_test=result))
        self.log.info(
            "%d look-ups of %d entities at %g/s: p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms",
            *(report.requests, len(expectations), self.load.rate),
            *(report.p50_ms, report.p95_ms, report.p99_ms, report.max_ms),
        )
        if report.errors or report.mismatches:
            raise AirflowFailException(
                f"{report.errors} errors and {report.mismatches} wrong answers; the first: {'; '.join(report.examples)}"
            )
        if report.p99_ms > self.objective_p99_ms:
            raise AirflowException(f"p99 is {report.p99_ms:.1f} ms; the objective is {self.objective_p99_ms:g} ms")
        return result

    async def _measure(self, refresh: Refresh, expectations: Sequence[Expectation]) -> Any:
        import httpx

        from foreserve.open_loop import measure

        url, headers = self.cloud.api_address()
        async with httpx.AsyncClient(base_url=url, headers=headers) as client:
            return await measure(client, refresh.model, refresh.version, expectations, self.load)

    def _sample(self, refresh: Refresh) -> list[Expectation]:
        """Entities at random: half of them from what changed (tombstones too), half from all predictions."""
        from foreserve.open_loop import Expectation

        client = self.cloud.bigquery()
        half = self.load.requests // 2
        changed = _random_rows(client, refresh.changes_table, half)
        rows = changed + _random_rows(client, refresh.predictions_table, self.load.requests - len(changed))
        return [Expectation(entity_id, payload) for entity_id, payload in rows]


class ConfirmServed(CloudOperator):
    """Waits until the service answers from a version."""

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
        url, headers = self.cloud.api_address()
        deadline = time.monotonic() + self.timeout_seconds
        with httpx.Client(base_url=url, headers=headers, timeout=5) as client:
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
