"""BigQuery jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator

from foreserve.operators.base import RefreshOperator
from prediction_store.lifecycle import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.cloud import Cloud
    from foreserve.refresh import Refresh

    Statement = Callable[[Refresh, Context], str]

_CLOCKS_DIFFER = timedelta(minutes=1)


class RunQuery(RefreshOperator, BigQueryInsertJobOperator):
    """Runs a statement of a refresh by the provider's operator, which waits in the triggerer.

    The job's id names the version, the task and the try. If a task is tried again, for example because its worker died,
    it waits for the job of the earlier try if that still runs.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, *BigQueryInsertJobOperator.template_fields)

    def __init__(self, *, statement: Statement, cloud: Cloud, poll_seconds: float, **kwargs: Any) -> None:
        """Run a statement.

        Args:
            statement: makes the SQL from the refresh and the context of the task.
            cloud: the environment of the job.
            poll_seconds: the time between looks at the job's state, in seconds.
            kwargs: those of `RefreshOperator`.
        """
        super().__init__(
            cloud=cloud,
            configuration={"query": {"query": "", "useLegacySql": False}},
            project_id=cloud.project,
            location=cloud.location,
            gcp_conn_id=cloud.gcp_conn_id,
            force_rerun=False,  # so the job's id ends with a hash of the configuration, by which the job is found again
            reattach_states={"PENDING", "RUNNING"},
            deferrable=True,
            poll_interval=poll_seconds,
            **kwargs,
        )
        self.statement = statement

    def set_fields(self, context: Context) -> None:
        """Set the SQL and the labels of the job."""
        refresh = self.refresh
        self.configuration = {
            "query": {**self.configuration["query"], "query": self.statement(refresh, context)},
            "labels": {"model": refresh.model, "version": str(refresh.version)},
        }

    def execute(self, context: Context) -> str | None:
        """Start the job, or find it, and wait for its end. Once the version's export has begun, no job is run.

        Raises:
            AirflowFailException: a newer version was opened.
            AirflowException: the job failed.
        """
        if self._is_final():
            self.log.warning("no job is run: the version's export has begun; start a new run to compute it again")
            return None
        self.job_id = self._name(context["ti"].try_number)
        job_id: str = super().execute(context)
        return job_id

    def _is_final(self) -> bool:
        """Return True if the version must not be computed again. Renews the run lease."""
        refresh, now = self.refresh, now_ms()
        with self.registry() as registry:
            state = registry.update(refresh.model, lambda state: state.renew_run_lease(refresh.version, now))
            return state.is_final(refresh.version)

    def _name(self, try_number: int) -> str:
        """The job's id without the hash: that of an earlier try that still runs, or else that of this try."""
        task = f"{_prefix(self.refresh)}{self.task_id}_"
        if try_number > 1:
            for job in _unended_jobs(self.cloud.bigquery(), self.refresh):
                if job.job_id.startswith(task):
                    self.log.info("waiting for job %s of an earlier try, which still runs", job.job_id)
                    return str(job.job_id).rpartition("_")[0]
        return f"{task}{try_number}"


def cancel_queries(client: bigquery.Client, refresh: Refresh) -> Iterator[str]:
    """Cancel the jobs of a refresh that still run, also those of tasks that were killed; yield their ids."""
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
