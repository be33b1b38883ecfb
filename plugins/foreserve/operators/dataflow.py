"""Waiting for a Beam job, and saying how far it is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.sdk import Context

_ERRORS_SHOWN = 3


class AwaitDataflowJob(BaseSensorOperator):
    """Waits for a job on Dataflow, holding no worker slot; each time it looks, it logs the job's state and counters.

    It does not cancel the job when it is killed, as mostly nothing of it runs then. An export finds in the registry
    that its version is not wanted any more, and fails; a purge deletes only what no version is read from.
    """

    template_fields: Sequence[str] = ("job_id",)

    def __init__(
        self, *, job_id: str, metrics: str, project: str, region: str, gcp_conn_id: str, **kwargs: Any
    ) -> None:
        """Wait for a job.

        Args:
            job_id: the job's id; empty: it did not run on Dataflow, and so has ended.
            metrics: the namespace of its counters.
            project: where it runs.
            region: where in it.
            gcp_conn_id: the Airflow connection to Google Cloud.
            kwargs: those of every sensor.
        """
        super().__init__(mode="reschedule", **kwargs)
        self.job_id = job_id
        self.metrics = metrics
        self.project = project
        self.region = region
        self.gcp_conn_id = gcp_conn_id

    def poke(self, context: Context) -> bool:
        """Look how far the job is.

        Raises:
            AirflowFailException: it failed or was cancelled; says why.
        """
        from airflow.providers.google.cloud.hooks.dataflow import DataflowHook, DataflowJobStatus

        if not self.job_id:
            return True
        hook = DataflowHook(gcp_conn_id=self.gcp_conn_id)
        job = {"job_id": self.job_id, "project_id": self.project, "location": self.region}
        state = hook.get_job(**job).get("currentState", DataflowJobStatus.JOB_STATE_UNKNOWN)
        ended = state in DataflowJobStatus.TERMINAL_STATES
        updates = hook.fetch_job_metrics_by_id(**job).get("metrics", [])
        counts = _counters(updates, self.metrics, tentative=not ended)
        figures = ", ".join(f"{name} {value:,}" for name, value in sorted(counts.items()))
        self.log.info("%s: %s", state, figures or "nothing counted yet")
        if state in DataflowJobStatus.FAILED_END_STATES:
            messages = hook.fetch_job_messages_by_id(**job)
            errors = [m["messageText"] for m in messages if m.get("messageImportance") == "JOB_MESSAGE_ERROR"]
            reasons = "; ".join(errors[-_ERRORS_SHOWN:]) or "it reported no error"
            raise AirflowFailException(f"Dataflow job {self.job_id} ended as {state}: {reasons}")
        return ended


def _counters(updates: Iterable[dict[str, Any]], namespace: str, *, tentative: bool) -> Counter[str]:
    """The counters of a namespace, each added up over all steps.

    Dataflow has each twice: of finished work and, `tentative`, with work in progress. When a job has ended, the former
    is exact.
    """
    counters: Counter[str] = Counter()
    for update in updates:
        context = update["name"].get("context", {})
        if context.get("namespace") == namespace and (context.get("tentative") == "true") is tentative:
            counters[update["name"]["name"]] += int(update.get("scalar", 0))
    return counters
