"""BigQuery jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.links.bigquery import BigQueryJobDetailLink

from foreserve.airflow_compat import AirflowException, AirflowFailException
from foreserve.operators.base import RefreshOperator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.refresh import Refresh
    from prediction_store.lifecycle import ModelState

_LONGEST_LABEL = 63
_CLOCKS_DIFFER = timedelta(minutes=1)


class RunQuery(RefreshOperator):
    """Runs a query that makes something of a version; waits in the triggerer, with the provider's own trigger.

    The job's id tells version, task and try, so a task whose worker died finds the job that it has left running, and
    waits for that. The provider's BigQueryInsertJobOperator would start a second one beside it; and a DAG file that
    imports it takes seconds to parse.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, "sql")
    template_fields_renderers = {"sql": "sql"}  # noqa: RUF012  as Airflow declares it
    operator_extra_links = (BigQueryJobDetailLink(),)
    ui_color = "#e0f0ff"

    def __init__(self, *, sql: str, poll_seconds: float, conclusive: bool = False, **kwargs: Any) -> None:
        """Run a query.

        Args:
            sql: the query.
            poll_seconds: how often to ask for the job's state.
            conclusive: whether a job that failed has said what it was to say, so that it is not tried again.
            kwargs: those of every task of a refresh.
        """
        super().__init__(**kwargs)
        self.sql = sql
        self.poll_seconds = poll_seconds
        self.conclusive = conclusive
        self._job_id: str | None = None

    def execute(self, context: Context) -> str | None:
        """Start the job, or find it, and wait for its end. Once the version's export has begun, nothing is run.

        Raises:
            AirflowFailException: a newer version was opened.
        """
        from airflow.providers.google.cloud.triggers.bigquery import BigQueryInsertJobTrigger

        if self._is_final():
            self.log.warning("nothing is computed again, as the version's export has begun; trigger a new run for that")
            return None
        job = self._find_or_start(context["ti"].try_number)
        job_id = self._job_id = str(job.job_id)
        where = {"project_id": self.cloud.project, "location": self.cloud.location, "job_id": job_id}
        BigQueryJobDetailLink.persist(context=context, **where)
        if not job.done():
            self.defer(
                trigger=BigQueryInsertJobTrigger(
                    conn_id=self.cloud.gcp_conn_id, poll_interval=self.poll_seconds, cancel_on_kill=True, **where
                ),
                method_name="execute_complete",
            )
        if job.error_result:
            raise self._failure(f"BigQuery job {job_id} failed: {job.error_result['message']}")
        return job_id

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> str:
        """Take over from the trigger."""
        if event["status"] != "success":
            raise self._failure(event["message"])
        return str(event["job_id"])

    def on_kill(self) -> None:
        """Cancel the job. While the task waits, its trigger does that."""
        if self._job_id:
            self._hook().cancel_job(job_id=self._job_id, project_id=self.cloud.project, location=self.cloud.location)

    def _failure(self, message: str) -> AirflowException:
        return AirflowFailException(message) if self.conclusive else AirflowException(message)

    def _is_final(self) -> bool:
        version, final = self.current.version, False

        def look(state: ModelState) -> ModelState:
            nonlocal final
            final = state.is_final(version)
            return state

        self.step(look)
        return final

    def _find_or_start(self, try_number: int) -> Any:
        """The job that an earlier try has left running; else the one of this try, started unless it was."""
        from google.api_core.exceptions import Conflict, NotFound

        hook = self._hook()
        where = {"project_id": self.cloud.project, "location": self.cloud.location}
        for earlier in range(try_number - 1, 0, -1):
            try:
                found = hook.get_job(job_id=self._id(earlier), **where)
            except NotFound:
                continue
            if found.done():
                break
            self.log.info("job %s of try %d still runs: waiting for it", found.job_id, earlier)
            return found
        job_id = self._id(try_number)
        self.log.info("job %s:\n%s", job_id, self.sql)
        try:
            return hook.insert_job(configuration=self._configuration(), job_id=job_id, nowait=True, **where)
        except Conflict:
            return hook.get_job(job_id=job_id, **where)

    def _id(self, try_number: int) -> str:
        return f"{_prefix(self.current)}{self.task_id}_{try_number}"

    def _configuration(self) -> dict[str, Any]:
        refresh = self.current
        labels = {"model": refresh.model, "version": str(refresh.version), "task": self.task_id[:_LONGEST_LABEL]}
        return {"query": {"query": self.sql, "useLegacySql": False}, "labels": labels}

    def _hook(self) -> BigQueryHook:
        from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

        return BigQueryHook(gcp_conn_id=self.cloud.gcp_conn_id, location=self.cloud.location, use_legacy_sql=False)


def cancel_queries(client: bigquery.Client, refresh: Refresh) -> Iterator[str]:
    """Cancel the jobs of a refresh that still run, whatever became of the tasks that started them; their ids."""
    begun = datetime.fromtimestamp(refresh.version / 1000, UTC) - _CLOCKS_DIFFER
    for state in ("pending", "running"):
        for job in client.list_jobs(state_filter=state, min_creation_time=begun):
            if job.job_id.startswith(_prefix(refresh)):
                job.cancel()
                yield job.job_id


def _prefix(refresh: Refresh) -> str:
    return f"foreserve_{refresh.model}_{refresh.version}_"
