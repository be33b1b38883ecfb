"""BigQuery jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator

from foreserve.airflow_compat import AirflowException, AirflowFailException
from foreserve.operators.base import RefreshOperator
from foreserve.prediction_gate import PLAIN_NAME
from foreserve.refresh import StatementError
from prediction_store.lifecycle import now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from google.cloud import bigquery

    from foreserve.airflow_compat import Context
    from foreserve.cloud import Cloud
    from foreserve.refresh import Refresh

    Statement = Callable[[Refresh, Context], str]
    Locate = Callable[[Refresh, Context, str, str], str]

_CLOCKS_DIFFER = timedelta(minutes=1)

_PERMANENT = frozenset(
    (
        "accessDenied",
        "billingNotEnabled",
        "bytesBilledLimitExceeded",
        "duplicate",
        "invalid",
        "invalidQuery",
        "notFound",
        "notImplemented",
        "resourcesExceeded",
        "responseTooLarge",
    )
)
"""Reasons of errors for which the same statement would fail again.

Source: https://cloud.google.com/bigquery/docs/error-messages#errortable
"""

_IN_SQL = ("invalidQuery", "notFound")
_CANCELLED = "stopped"
_RUNNING = "running"  # no reason of BigQuery

_JOB = "job"
"""The key of the XCom with the id of the job. Airflow 3 replaces the XCom of the provider's link by an address."""


class RunQuery(RefreshOperator, BigQueryInsertJobOperator):
    """Runs a statement of a refresh by the provider's operator, which waits in the triggerer.

    The job's id names the version, the task and the try. If a task is tried again, for example because its worker died,
    it waits for the job of the earlier try if that still runs.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, *BigQueryInsertJobOperator.template_fields)

    def __init__(
        self,
        *,
        statement: Statement,
        cloud: Cloud,
        poll_seconds: float,
        locate: Locate | None = None,
        **kwargs: Any,
    ) -> None:
        """Run a statement.

        Args:
            statement: makes the SQL from the refresh and the context of the task. It may raise a StatementError.
            locate: finds the file and the line of an error, from the refresh, the context, the SQL and BigQuery's
                message.
            cloud: the environment of the job.
            poll_seconds: the time between looks at the job's state, in seconds.
            kwargs: those of `RefreshOperator`.
        """
        super().__init__(
            cloud=cloud,
            configuration=cloud.job_configuration(query="", useLegacySql=False),
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
        self.locate = locate
        self._error: Exception | None = None

    def set_fields(self, context: Context) -> None:
        """Set the SQL and the labels of the job. `execute` raises an error of this.

        Here, Airflow would hide the error in a folded part of the log, and would always try the task again.
        """
        refresh, sql = self.refresh, ""
        try:
            sql = self.statement(refresh, context)
        except Exception as error:  # noqa: BLE001  raised by execute
            self._error = error
        self.configuration = {
            **self.configuration,
            "query": {**self.configuration["query"], "query": sql},
            "labels": {**self.cloud.labels, "model": refresh.model, "version": str(refresh.version)},
        }

    def execute(self, context: Context) -> str | None:
        """Start the job, or find it, and wait for its end. Once the version's export has begun, no job is run.

        Raises:
            AirflowFailException: the SQL cannot be made, a newer version was opened, or the job failed and would fail
                again.
            AirflowException: the job failed for another reason.
        """
        if isinstance(self._error, StatementError):
            raise AirflowFailException(str(self._error))
        if self._error is not None:
            raise self._error
        if self._is_final():
            self.log.warning("no job is run: the version's export has begun; start a new run to compute it again")
            return None
        return self._run(context, self._name(context["ti"].try_number))

    def execute_complete(self, context: Context, event: dict[str, Any]) -> str | None:
        """End the task as its job ended.

        If the task was cleared, Airflow has cancelled the job of the earlier try, which may still have been running
        when this try began to wait for it. Then a new job is run.

        The trigger also ends when BigQuery does not answer one of its calls. A job that still runs is waited for again.

        Raises:
            AirflowFailException: the job failed, and would fail again.
            AirflowException: the job failed for another reason.
        """
        try:
            job_id: str | None = super().execute_complete(context, event)
        except AirflowException as error:
            self.job_id = context["ti"].xcom_pull(task_ids=self.task_id, key=_JOB)
            own = f"{_prefix(self.refresh)}{self.task_id}_{context['ti'].try_number}"
            reason, message = self._job_error()
            if reason == _RUNNING:
                self.log.warning("waiting again for job %s, which still runs: %s", self.job_id, error)
                return self._run(context, str(self.job_id).rpartition("_")[0])
            if reason == _CANCELLED and not str(self.job_id).startswith(f"{own}_"):
                self.log.info("job %s of an earlier try was cancelled; running a new one", self.job_id)
                return self._run(context, own)
            raise self._classified(context, reason, message or str(error)) from None
        return job_id

    def _run(self, context: Context, name: str) -> str | None:
        """Start the job of this name, or find it, and wait for its end."""
        from google.api_core.exceptions import GoogleAPICallError

        self.job_id = name
        try:
            job_id: str | None = super().execute(context)
        except GoogleAPICallError as error:
            reasons = [each.get("reason") for each in error.errors if isinstance(each, dict)]
            raise self._classified(context, next(iter(reasons), None), error.message) from None
        except AirflowException as error:
            reason, message = self._job_error()
            raise self._classified(context, reason, message or str(error)) from None
        finally:
            context["ti"].xcom_push(key=_JOB, value=self.job_id)
        return job_id

    def _classified(self, context: Context, reason: str | None, message: str) -> AirflowException:
        """The error with which the task fails: at once if its job failed for good, else after all tries.

        The message begins with the place and BigQuery's message, because people read its first line.
        """
        sql = self.configuration["query"]["query"]
        place = ""
        if self.locate and reason in _IN_SQL:
            try:
                place = f"{self.locate(self.refresh, context, sql, message)}: "
            except Exception:
                self.log.exception("the place of the error was not found")
        text = f"{place}{message}" + (f"\nBigQuery job {self.job_id}" if self.job_id else "")
        return AirflowFailException(text) if reason in _PERMANENT else AirflowException(text)

    def _job_error(self) -> tuple[str | None, str]:
        """The reason and the message of the error of the job; None if the job has none or is unknown.

        The reason is `_RUNNING` if the job has not ended.
        """
        from google.api_core.exceptions import NotFound

        if not self.job_id:
            return None, ""
        try:
            job = self.cloud.bigquery().get_job(self.job_id)
        except NotFound:
            return None, ""
        if job.state != "DONE":
            return _RUNNING, ""
        result = job.error_result or {}
        return result.get("reason"), result.get("message") or ""

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


_NUMERIC = frozenset(("INT64", "FLOAT64", "NUMERIC", "BIGNUMERIC"))


def why_not_compared(client: bigquery.Client, refresh: Refresh) -> str | None:
    """The reason why the champion cannot be evaluated on the rows of the candidate; None if it can.

    ML.EVALUATE needs the label with which the BigQuery model was trained
    (https://cloud.google.com/bigquery/docs/reference/standard-sql/bigqueryml-syntax-evaluate).
    """
    from google.api_core.exceptions import NotFound

    if not refresh.champion_model:
        return "there is no champion"
    try:
        champion = client.get_model(refresh.champion_model)
    except NotFound:
        return f"the champion {refresh.champion_model} has been deleted"
    labels = [_labels(model) for model in (champion, client.get_model(refresh.candidate_model))]
    if labels[0] == labels[1]:
        return None
    texts = [", ".join(f"{name} ({kind})" for name, kind in each.items()) or "no label" for each in labels]
    return f"the champion was trained with {texts[0]}, the candidate with {texts[1]}"


def _labels(model: bigquery.Model) -> dict[str, str]:
    """The types of the label columns by name, in lower case. All numeric types are one."""
    columns = (column.to_api_repr() for column in model.label_columns)
    kinds = {column["name"].lower(): column.get("type", {}).get("typeKind", "any type") for column in columns}
    return {name: "a number" if kind in _NUMERIC else kind for name, kind in kinds.items()}


_SAMPLED_PREDICTIONS = 100
_MOST_FIELDS = 100


def prediction_fields(client: bigquery.Client, refresh: Refresh) -> dict[str, str]:
    """The JSONPath of each field of the predictions, by name. A prediction without fields is one, `prediction`.

    Rows of a STRUCT have equal fields, so a few rows suffice. Reading them without a query is free
    (https://cloud.google.com/bigquery/docs/reference/rest/v2/tabledata/list). At most 100 fields are returned, without
    those whose names SQL would have to quote.
    """
    rows = client.list_rows(refresh.predictions_table, max_results=_SAMPLED_PREDICTIONS)
    payloads = [json.loads(row["payload"] or "null") for row in rows]
    names: dict[str, str] = {}
    for payload in payloads:
        for name in payload if isinstance(payload, dict) else ():
            names.setdefault(name.lower(), name)  # names of columns do not differ by case alone
    if not names:
        return {"prediction": "$"}
    plain = [name for name in names.values() if PLAIN_NAME.fullmatch(name)]
    return {name: f"$.{name}" for name in plain[:_MOST_FIELDS]}


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
