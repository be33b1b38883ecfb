"""The live metrics of predictions, as a task: what readers had, compared with what happened since."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import AirflowFailException, AirflowSkipException
from foreserve.operators.base import CloudOperator
from foreserve.operators.gates import metrics_from_json
from foreserve.operators.versions import data_cutoff
from foreserve.refresh import StatementError
from prediction_store.details import LiveMetrics, Metrics, held_out_metrics
from prediction_store.lifecycle import ModelState, ServedInterval, now_ms
from prediction_store.warehouse import bigquery_name, live_metrics_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Protocol

    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.quality_gate import QualityGate

    class OutcomeStatements(Protocol):
        """The statements of a pipeline with outcomes."""

        def outcomes(self, cutoff: str) -> str:
            """The query of `outcomes.sql`, with a data cutoff in ISO 8601."""

        def live_metrics(
            self,
            cutoff: str,
            table: str,
            served: Sequence[ServedInterval],
            predictions: Mapping[int, str],
            *,
            is_classification: bool,
        ) -> str:
            """The script that writes the live metrics of the versions that readers had."""


_MOST_VERSIONS = 900
"""The largest number of versions that are measured. A query may name 1,000 tables, and `outcomes.sql` has its own.

Source: https://cloud.google.com/bigquery/quotas#query_jobs
"""


class MeasureOutcomes(CloudOperator):
    """Writes the live metrics of the versions that readers had to BigQuery and the registry."""

    def __init__(
        self,
        *,
        model: str,
        dataset: str,
        statements: OutcomeStatements,
        gate: QualityGate,
        min_outcomes: int,
        **kwargs: Any,
    ) -> None:
        """Measure a model.

        Args:
            model: the model's name.
            dataset: PROJECT.DATASET of the predictions, and of the table MODEL_live_metrics.
            statements: the statements of the pipeline.
            gate: the rules for the live metrics.
            min_outcomes: the fewest outcomes of a version to which the rules apply.
            kwargs: those of `CloudOperator`.
        """
        super().__init__(**kwargs)
        self.model = model
        self.dataset = dataset
        self.statements = statements
        self.gate = gate
        self.min_outcomes = min_outcomes

    def execute(self, context: Context) -> None:
        """Measure the newest versions whose predictions BigQuery still has, and record the result.

        Raises:
            AirflowSkipException: readers have had no such version yet.
            AirflowFailException: the SQL cannot be made, or BigQuery refuses it.
        """
        from google.api_core.exceptions import BadRequest

        with self.registry() as registry:
            state = registry.find(self.model)
        client, cutoff = self.cloud.bigquery(), data_cutoff(context["dag_run"]).isoformat()
        served = [] if state is None else state.served_intervals(now_ms())
        predictions = self._predictions(client, {interval.version for interval in served})
        served = [interval for interval in served if interval.version in predictions]
        if not served:
            raise AirflowSkipException(f"readers have had no version of {self.model} whose predictions BigQuery has")
        table = f"{self.dataset}.{live_metrics_table(self.model)}"
        try:
            kind = _type_of_outcome(client, self.statements.outcomes(cutoff))
            script = self.statements.live_metrics(
                cutoff, table, served, predictions, is_classification=kind == "BOOLEAN"
            )
            client.query_and_wait(script)
        except (StatementError, BadRequest) as error:
            raise AirflowFailException(str(error)) from error
        rows = client.query_and_wait(
            f"SELECT * FROM `{table}` WHERE measured_at = TIMESTAMP '{cutoff}' ORDER BY version"
        )
        self._record({row["version"]: row for row in rows}, cutoff)

    def _predictions(self, client: bigquery.Client, versions: set[int]) -> dict[int, str]:
        """The tables of predictions that BigQuery still has, by version, of the newest of these versions."""
        names = {version: bigquery_name(self.dataset, self.model, "predictions", version) for version in versions}
        there = {f"{self.dataset}.{table.table_id}" for table in client.list_tables(self.dataset)}
        found = [(version, name) for version, name in sorted(names.items()) if name in there]
        return dict(found[-_MOST_VERSIONS:])

    def _record(self, rows: Mapping[int, Mapping[str, Any]], cutoff: str) -> None:
        def step(state: ModelState) -> ModelState:
            for version in rows.keys() & state.versions.keys():
                held_out = held_out_metrics(state.versions[version].details)
                state = state.note(version, live=self._live(rows[version], held_out, cutoff))
            return state

        with self.registry() as registry:
            state = registry.update(self.model, step)
        if not rows:
            self.log.warning("no outcome has a prediction that readers had; compare observed_at and entity_id")
        for version, row in rows.items():
            self.log.info("version %d, %d outcomes: %s", version, row["outcomes"], row["metrics"])
            record = state.versions.get(version)
            for breach in record.details["live"]["breaches"] if record else ():
                self.log.warning("version %d: breach: %s", version, breach)

    def _live(self, row: Mapping[str, Any], held_out: Metrics, cutoff: str) -> LiveMetrics:
        live = metrics_from_json(row["metrics"])
        is_judged = row["outcomes"] >= self.min_outcomes
        first, last = (row[name].astimezone(UTC).isoformat() for name in ("first_observed_at", "last_observed_at"))
        return {
            "at": cutoff,
            "outcomes": row["outcomes"],
            "first_observed_at": first,
            "last_observed_at": last,
            "metrics": live,
            "held_out": held_out,
            "calibration": list(row["calibration"]),
            "breaches": self.gate.live_breaches(live, held_out) if is_judged else [],
        }


def _type_of_outcome(client: bigquery.Client, query: str) -> str:
    """The type of the column `outcome`, by a dry run, which is free.

    Raises:
        StatementError: the query has no such column.
    """
    from google.cloud.bigquery import QueryJobConfig

    columns = client.query(query, job_config=QueryJobConfig(dry_run=True, use_query_cache=False)).schema or []
    kinds = {column.name.lower(): column.field_type for column in columns}
    if missing := {"entity_id", "outcome", "observed_at"} - kinds.keys():
        raise StatementError(f"outcomes.sql has no column {', '.join(sorted(missing))}; it has {', '.join(kinds)}")
    return str(kinds["outcome"])
