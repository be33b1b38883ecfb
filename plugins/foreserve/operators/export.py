"""Before and after the export job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import BaseBranchOperator
from foreserve.operators.base import RefreshOperator
from prediction_store.lifecycle import ModelState, Receipt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.refresh import Refresh


class PrepareExport(RefreshOperator, BaseBranchOperator):
    """Announces the export in the registry; chooses between the purge and the export itself."""

    template_fields: Sequence[str] = ("refresh", "model")

    def __init__(self, *, model: str, purge_task_id: str, export_task_id: str, **kwargs: Any) -> None:
        """Prepare the export of what `model` (the name of a BigQuery ML model; empty: the champion) predicted."""
        super().__init__(**kwargs)
        self.model = model
        self.purge_task_id = purge_task_id
        self.export_task_id = export_task_id

    def choose_branch(self, context: Context) -> str:
        """Count the changes, announce the export, and purge only if stale cells could be read with it.

        A version that was promoted is left as it is.
        """
        refresh = self.current
        client = self.cloud.bigquery()
        total = next(iter(client.query_and_wait(f"SELECT COUNT(*) FROM `{refresh.predictions_table}`")))[0]
        expected = expected_receipt(client, refresh)
        counts = {
            "predictions": total,
            "written": expected.predictions,
            "tombstones": expected.tombstones,
            "unchanged": total - expected.predictions,
        }
        model = self.model or refresh.champion_model

        def announce(state: ModelState) -> ModelState:
            if state.was_promoted(refresh.version):
                return state
            noted = state.note(
                refresh.version,
                model=model,
                cutoff=refresh.cutoff,
                predictions_table=refresh.predictions_table,
                counts=counts,
            )
            return noted.begin_export(refresh.version)

        state = self.step(announce)
        stale = state.stale_versions(refresh.version)
        self.log.info("of %(predictions)d predictions, %(written)d to write, %(unchanged)d unchanged", counts)
        self.log.info("%d tombstones; stale versions to purge: %s", expected.tombstones, stale or "none")
        return self.purge_task_id if stale else self.export_task_id


class WaitForReplication(RefreshOperator):
    """Waits until every cluster of the instance has what was written. At once where there is only one."""

    def __init__(self, *, entity_type: str, poll_seconds: float, **kwargs: Any) -> None:
        """Wait for the table of `entity_type`."""
        super().__init__(**kwargs)
        self.entity_type = entity_type
        self.poll_seconds = poll_seconds

    def execute(self, context: Context) -> None:
        """Ask Bigtable for a consistency token, and wait until it is consistent."""
        from prediction_store.tables import Tables

        Tables(self.cloud.bigtable).wait_for_replication(self.entity_type, self.poll_seconds)
        self.log.info("every cluster has the cells of version %d", self.current.version)


def expected_receipt(client: bigquery.Client, refresh: Refresh) -> Receipt:
    """What the export of a refresh must write, according to BigQuery."""
    sql = f"SELECT COUNT(payload), COUNTIF(payload IS NULL) FROM `{refresh.changes_table}`"
    predictions, tombstones = next(iter(client.query_and_wait(sql)))
    return Receipt(predictions, tombstones)
