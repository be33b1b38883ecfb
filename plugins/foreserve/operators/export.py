"""The export of a version: preparation, purge, export, replication."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import BaseBranchOperator, BaseSensorOperator
from foreserve.operators.base import RefreshOperator
from foreserve.operators.beam import RunBeamJob
from prediction_store.lifecycle import ModelState, Receipt, now_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.refresh import Refresh
    from prediction_store.details import Counts


class PrepareExport(RefreshOperator, BaseBranchOperator):
    """Announces the export in the registry, and chooses the next task: the purge, or the export itself.

    After a purge, the task of the export begins it.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, "bigquery_model")

    def __init__(self, *, bigquery_model: str, purge_task_id: str, export_task_id: str, **kwargs: Any) -> None:
        """Prepare an export.

        Args:
            bigquery_model: the BigQuery model that made the predictions; empty: the champion.
            purge_task_id: the task to choose if stale cells would be read with the version.
            export_task_id: the task to choose otherwise.
            kwargs: those of `RefreshOperator`.
        """
        super().__init__(**kwargs)
        self.bigquery_model = bigquery_model
        self.purge_task_id = purge_task_id
        self.export_task_id = export_task_id

    def choose_branch(self, context: Context) -> str:
        """Count the changes, and choose. Begin the export unless there are stale cells, or the version was promoted.

        Raises:
            AirflowFailException: a newer version was opened.
        """
        refresh = self.refresh
        client = self.cloud.bigquery()
        total = next(iter(client.query_and_wait(f"SELECT COUNT(*) FROM `{refresh.predictions_table}`")))[0]
        examples = [
            row["entity_id"] for row in client.list_rows(client.get_table(refresh.predictions_table), max_results=1)
        ]
        expected = expected_receipt(client, refresh)
        counts: Counts = {
            "predictions": total,
            "written": expected.predictions,
            "tombstones": expected.tombstones,
            "unchanged": total - expected.predictions,
        }

        def announce(state: ModelState) -> ModelState:
            if state.was_promoted(refresh.version):
                return state
            noted = state.note(
                refresh.version,
                bigquery_model=self.bigquery_model or refresh.champion_model,
                cutoff=refresh.cutoff,
                predictions_table=refresh.predictions_table,
                counts=counts,
                **({"example": examples[0]} if examples else {}),
            )
            return noted if state.stale_versions(refresh.version) else noted.begin_export(refresh.version)

        stale = self.step(announce).stale_versions(refresh.version)
        self.log.info("of %(predictions)d predictions, %(written)d to write, %(unchanged)d unchanged", counts)
        self.log.info("%d tombstones; stale versions to purge: %s", expected.tombstones, stale or "none")
        return self.purge_task_id if stale else self.export_task_id


class RunPurge(RunBeamJob):
    """Runs the purge: of the rows in the changes tables of the stale versions, or else of the whole Bigtable table.

    A version wrote nothing but the rows of its changes table. `CleanUp` keeps that until the version is purged.
    """

    def begin(self, state: ModelState) -> ModelState:
        """Check that the purge may begin."""
        return state.begin_purge(self.refresh.version)

    def count_rows(self, state: ModelState) -> int | None:
        """The number of rows in these tables, which become options; None if one is gone or differs from the export."""
        from google.api_core.exceptions import NotFound

        # After a rollback, the job refuses to purge: services may still read the version that it would delete.
        self.pipeline_options = {**self.pipeline_options, "active": state.active or 0}
        client = self.cloud.bigquery()
        tables, rows = [], 0
        for version in state.stale_versions(self.refresh.version):
            table = replace(self.refresh, version=version).changes_table
            try:
                found = next(iter(client.query_and_wait(f"SELECT COUNT(*) FROM `{table}`")))[0]
            except NotFound:
                found = None
            if found is None or found != _written(state, version):
                self.log.warning("%s is gone or has changed: all rows of %s are scanned", table, state.entity_type)
                return None
            tables.append(table)
            rows += found
        self.pipeline_options = {**self.pipeline_options, "changes_table": tables}
        return rows

    def end_without_rows(self, state: ModelState) -> None:
        """Wait until no job can write stale cells any more, and mark the stale versions as purged."""
        version = self.refresh.version
        time.sleep(max(0, state.stale_writes_end(version) - now_ms()) / 1000)
        began = now_ms()
        self.step(lambda now: now.mark_purged(version, above=state.active or 0, began=began))


class RunExport(RunBeamJob):
    """Runs the export of the changes."""

    def set_fields(self, context: Context) -> None:
        """Add the options that depend on the refresh."""
        super().set_fields(context)
        self.pipeline_options = {**self.pipeline_options, "source_table": self.refresh.changes_table}

    def begin(self, state: ModelState) -> ModelState:
        """Begin the export if it has not begun, or if the version was aborted since."""
        return state.resume_export(self.refresh.version)

    def count_rows(self, state: ModelState) -> int | None:
        """The number of changes that `PrepareExport` counted."""
        return _written(state, self.refresh.version)

    def end_without_rows(self, state: ModelState) -> None:
        """Record the receipt of an empty export."""
        self.step(lambda now: now.complete_export(self.refresh.version, Receipt(0, 0)))


_POKE_SECONDS = 60.0
"""The time for which one poke waits for replication, which usually takes seconds."""


class WaitForReplication(RefreshOperator, BaseSensorOperator):
    """Waits until every cluster of the Bigtable instance has the written cells. With one cluster, it ends at once.

    Between pokes it holds no worker slot. Each poke takes a new consistency token, because Airflow deletes the XComs of
    a sensor before each poke.
    """

    def __init__(self, *, entity_type: str, poll_seconds: float, **kwargs: Any) -> None:
        """Wait for a table.

        Args:
            entity_type: the table.
            poll_seconds: the time between two questions to Bigtable, in seconds.
            kwargs: those of `RefreshOperator` and of every sensor.
        """
        super().__init__(mode="reschedule", **kwargs)
        self.entity_type = entity_type
        self.poll_seconds = poll_seconds

    def poke(self, context: Context) -> bool:
        """Renew the run lease, and wait for a while; return True if the table is consistent."""
        from prediction_store.tables import Tables

        self.step()
        version = self.refresh.version
        if Tables(self.cloud.bigtable).wait_for_replication(self.entity_type, self.poll_seconds, _POKE_SECONDS):
            self.log.info("every cluster has the cells of version %d", version)
            return True
        self.log.warning(
            "a cluster of instance %s still lacks cells that were written to table %s, perhaps of version %d; the "
            "metric bigtable.googleapis.com/replication/latency has the delay of each cluster",
            self.cloud.bigtable.instance,
            self.entity_type,
            version,
        )
        return False


def _written(state: ModelState, version: int) -> int | None:
    """The number of cells that make a version from the active one; None if it was not counted."""
    counts = state.versions[version].details.get("counts")
    return None if counts is None else counts["written"] + counts["tombstones"]


def expected_receipt(client: bigquery.Client, refresh: Refresh) -> Receipt:
    """The counts of cells that the export of a refresh must write, according to BigQuery.

    `PrepareExport` records them. `Promote` counts again, so that a table which changed in between is noticed.
    """
    sql = f"SELECT COUNT(payload), COUNTIF(payload IS NULL) FROM `{refresh.changes_table}`"
    predictions, tombstones = next(iter(client.query_and_wait(sql)))
    return Receipt(predictions, tombstones)
