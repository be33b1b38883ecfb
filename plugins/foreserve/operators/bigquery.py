"""BigQuery jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator

from foreserve.operators.base import RefreshOperator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.cloud import Cloud
    from foreserve.refresh import Refresh
    from prediction_store.lifecycle import ModelState

_CLOCKS_DIFFER = timedelta(minutes=1)


class RunQuery(RefreshOperator, BigQueryInsertJobOperator):
    """Runs a query that makes something of a version, as the provider's operator does; waits in the triggerer.

    The job's id tells version, task and try. A task that is tried again, say because its worker died, finds the job
    that an earlier try has left running, and waits for that.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, *BigQueryInsertJobOperator.template_fields)

    def __init__(self, *, sql: str, cloud: Cloud, poll_seconds: float, **kwargs: Any) -> None:
        """Run a query.

        Args:
            sql: the query.
            cloud: where to run it.
            poll_seconds: how often to ask for the job's state.
            kwargs: those of every task of a refresh.
        """
        super().__init__(
            cloud=cloud,
            configuration={"query": {"query": sql, "useLegacySql": False}},
            project_id=cloud.project,
            location=cloud.location,
            gcp_conn_id=cloud.gcp_conn_id,
            force_rerun=False,  # a hash of the configuration ends the job's id, so that a job can be found again
            reattach_states={"PENDING", "RUNNING"},
            deferrable=True,
            poll_interval=poll_seconds,
            **kwargs,
        )

    def execute(self, context: Context) -> str | None:
        """Start the job, or find it, and wait for its end. Once the version's export has begun, nothing is run.

        Raises:
            AirflowFailException: a newer version was opened.
            AirflowException: the job failed.
        """
        if self._is_final():
            self.log.warning("nothing is computed again, as the version's export has begun; trigger a new run for that")
            return None
        refresh = self.current
        self.configuration["labels"] = {"model": refresh.model, "version": str(refresh.version)}
        self.job_id = self._name(context["ti"].try_number)
        job_id: str = super().execute(context)
        return job_id

    def _is_final(self) -> bool:
        version, final = self.current.version, False

        def look(state: ModelState) -> ModelState:
            nonlocal final
            final = state.is_final(version)
            return state

        self.step(look)
        return final

    def _name(self, try_number: int) -> str:
        """The job's id but for the hash: that of an earlier try which still runs, else of this one."""
        task = f"{_prefix(self.current)}{self.task_id}_"
        if try_number > 1:
            for job in _unended_jobs(self.cloud.bigquery(), self.current):
                if job.job_id.startswith(task):
                    self.log.info("job %s of an earlier try still runs: waiting for it", job.job_id)
                    return str(job.job_id).rpartition("_")[0]
        return f"{task}{try_number}"


def cancel_queries(client: bigquery.Client, refresh: Refresh) -> Iterator[str]:
    """Cancel the jobs of a refresh that still run, whatever became of the tasks that started them; their ids."""
    for job in _unended_jobs(client, refresh):
        job.cancel()
        yield job.job_id


def _unended_jobs(client: bigquery.Client, refresh: Refresh) -> Iterator[Any]:
    begun = datetime.fromtimestamp(refresh.version / 1000, UTC) - _CLOCKS_DIFFER
    for state in ("pending", "running"):
        for job in client.list_jobs(state_filter=state, min_creation_time=begun):
            if job.job_id.startswith(_prefix(refresh)):
                yield job


def _prefix(refresh: Refresh) -> str:
    return f"foreserve_{refresh.model}_{refresh.version}_"
