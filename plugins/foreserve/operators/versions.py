"""The life of a version as tasks: it is opened, promoted, confirmed, and cleaned up after, or it is aborted."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import AirflowFailException, AirflowSkipException, due_time, has_ended, run_url
from foreserve.links import ActiveVersionLink
from foreserve.operators.base import CloudOperator, RefreshOperator, check_conf, failures, signed
from foreserve.operators.beam import cancel_dataflow_job
from foreserve.operators.bigquery import cancel_queries
from foreserve.operators.export import expected_receipt
from foreserve.refresh import Refresh
from prediction_store.details import Promotion, RunDetails, VersionDetails
from prediction_store.lifecycle import ModelState, now_ms
from prediction_store.warehouse import bigquery_name, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import httpx

    from foreserve.airflow_compat import Asset, Context

_POLL_SECONDS = 0.5
_DAY = 86_400_000

_EARLIEST_VERSION = 10**12
"""The lowest number with as many digits as the time in milliseconds since the epoch has."""


class OpenVersion(CloudOperator):
    """Opens a version in the registry; returns the refresh as a dictionary."""

    def __init__(
        self,
        *,
        initial: ModelState,
        dataset: str,
        create_tables: bool,
        find_mistakes: Callable[[], Sequence[str]] = tuple,
        **kwargs: Any,
    ) -> None:
        """Open a version of a model.

        Args:
            initial: the model's settings, as its state before the first version.
            dataset: PROJECT.DATASET of the refresh's BigQuery models and tables.
            create_tables: create missing Bigtable tables and column families, which needs the rights of a table admin.
            find_mistakes: returns the mistakes in the pipeline's files, with file and line.
            kwargs: those of `CloudOperator`.
        """
        super().__init__(**kwargs)
        self.find_mistakes = find_mistakes
        self.initial = initial
        self.dataset = dataset
        self.create_tables = create_tables

    def execute(self, context: Context) -> dict[str, Any]:
        """Register the model if it is new, and open a version.

        Raises:
            AirflowFailException: the run is part of a backfill, a choice or the logical date is wrong, the pipeline has
                a mistake, there is no BigQuery model to reuse, the model's settings do not fit its versions, or the
                registry has lost versions and not every prediction is to be written.
            AirflowException: another run has the run lease.
        """
        if context["dag_run"].run_type == "backfill":
            raise AirflowFailException(
                "a backfill is refused: each of its runs would serve predictions as of an old date; to do that once, "
                "trigger the DAG with that logical date"
            )
        check_conf(context)
        if mistakes := self.find_mistakes():
            raise AirflowFailException("\n".join(mistakes))
        cutoff = data_cutoff(context["dag_run"])
        if cutoff > datetime.now(UTC):
            raise AirflowFailException(
                f"the logical date {cutoff.isoformat()} is in the future, so the data before it are not complete; "
                "trigger the DAG with an earlier one, or without"
            )
        params = context["params"]
        if params["override_gates"] and not (params["reason"] or "").strip():
            raise AirflowFailException(
                "override_gates is set, but reason is empty; trigger the DAG with the reason, which is recorded"
            )
        if self.create_tables:
            self._create_registry()
        with self.registry() as registry:
            state = registry.register(self.initial)
            if not _champion(state) and not params["retrain"]:
                raise AirflowFailException(
                    f"retrain is false, but {state.model} has no active version whose BigQuery model could be reused; "
                    "trigger the DAG with retrain: true"
                )
            lost = self._lost_versions(state)
            if lost and state.active and params["export"] != "full":
                raise AirflowFailException(
                    f"the registry has lost the versions {lost} of {state.model}, of which BigQuery has tables: it was "
                    "restored from a backup, and cells may be lost too; trigger the DAG with export: full, which "
                    "purges them and writes every prediction"
                )
            if self.create_tables:
                self._create_tables(state)
            state = registry.update(self.initial.model, lambda state: self._open(state.adopt(lost, now_ms()), context))
        champion = _champion(state)  # of this state: readers may have been rolled back since the model was registered
        refresh = Refresh(
            model=state.model,
            version=state.latest,
            dataset=self.dataset,
            active=state.active,
            champion_model=champion.get("bigquery_model"),
            active_predictions_table=champion.get("predictions_table"),
            cutoff=cutoff.isoformat(),
        )
        self.log.info("opened version %d; the active version is %s", refresh.version, refresh.active or "none yet")
        self.log.info("data before %s count", refresh.cutoff)
        return refresh.to_xcom()

    def _lost_versions(self, state: ModelState) -> list[int]:
        """The versions that were opened later than all that the registry has, according to tables of changes."""
        prefix = f"{state.model}_changes_"
        names = (table.table_id for table in self.cloud.bigquery().list_tables(self.dataset))
        versions = (version_of(name, state.model) for name in names if name.startswith(prefix))
        # A team's own table may end with a date. No version is that low, or in the future.
        return sorted(v for v in versions if v and max(state.latest, _EARLIEST_VERSION - 1) < v < now_ms())

    def _open(self, state: ModelState, context: Context) -> ModelState:
        """Open a version. The run lease of a run that has ended in this Airflow does not matter."""
        now = now_ms()
        holder = state.run_lease_holder(now)
        if holder and has_ended(context, holder):
            state = state.release_run_lease(holder)
        opened = state.open(now, run_url(context))
        choices = {name: value for name, value in context["params"].items() if value is not None}
        run: RunDetails = {"choices": choices, **signed(context)}
        return opened.note(opened.latest, run=run, description=context["dag"].description or "")

    def _create_registry(self) -> None:
        from prediction_store.tables import Tables

        Tables(self.cloud.bigtable).ensure_registry()

    def _create_tables(self, state: ModelState) -> None:
        """Create the model's table and column family, or set its garbage collection.

        `state` must be that of the registry: if `keep_versions` was lowered, versions expire there before their cells
        are deleted.
        """
        from prediction_store.tables import Tables

        Tables(self.cloud.bigtable).ensure_model(state)


def _champion(state: ModelState) -> VersionDetails:
    """The details of the active version; none if there is no active version."""
    return VersionDetails() if state.active is None else state.versions[state.active].details


def data_cutoff(dag_run: Any) -> datetime:
    """The time before which data count for a run. It stays the same however often tasks are tried or cleared.

    It is the logical date if a person triggered the run with one, or else the time at which the run was due.
    """
    logical_date: datetime | None = dag_run.logical_date
    return logical_date if dag_run.run_type == "manual" and logical_date is not None else due_time(dag_run)


def _refuse_promotion(task: RefreshOperator, reason: str) -> None:
    """Record that the version will not be promoted."""
    refresh, now = task.refresh, now_ms()
    with task.registry() as registry:
        registry.update(
            refresh.model,
            lambda state: state.refuse_promotion(refresh.version, reason=reason, now=now, task=task.task_id),
        )


class Promote(RefreshOperator):
    """Promotes the version if it is complete and the active version is still that of the refresh's start.

    If `promote` is off in the trigger form, the run ends here. A complete version is then ready, unless readers were
    rolled back since the refresh began.

    Emits an event of the asset that stands for the model's predictions.
    """

    operator_extra_links = (ActiveVersionLink(),)

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        """Promote a version.

        Args:
            asset: the asset of the model's predictions.
            kwargs: those of `RefreshOperator`.
        """
        super().__init__(outlets=[asset], **kwargs)
        self.asset = asset

    def execute(self, context: Context) -> None:
        """Count the expected cells again, and promote.

        Raises:
            AirflowSkipException: `promote` is off in the trigger form.
            AirflowFailException: the version is not complete, or another version was promoted or opened.
        """
        refresh = self.refresh
        if not context["params"]["promote"]:
            raise AirflowSkipException(self._hold())
        expected = expected_receipt(self.cloud.bigquery(), refresh)
        why = context["params"]["reason"] or ""
        promotion: Promotion = {"previous": refresh.active, "why": why, **signed(context)}

        def promote(state: ModelState) -> ModelState:
            promoted = state.promote(refresh.version, expected_active=refresh.active, expected=expected)
            return promoted.note(refresh.version, promotion=promotion)

        try:
            self.step(promote)
        except AirflowFailException as error:
            _refuse_promotion(self, str(error))
            raise
        ActiveVersionLink.store(context, f"{self.cloud.api_url()}/v1/models/{refresh.model}")
        context["outlet_events"][self.asset].extra = {
            "event": "prediction version promoted",
            "model": refresh.model,
            "version": refresh.version,
            "predictions_written": expected.predictions,
            "tombstones_written": expected.tombstones,
            "previous": promotion["previous"],
            "by": promotion["by"],
            "run_id": promotion["run_id"],
            "at": promotion["at"],
        }
        self.log.info("promoted version %d; before, %s was active", refresh.version, refresh.active or "none")

    def _hold(self) -> str:
        """Record that the version is not to be promoted, and so is ready if complete; return its status in words."""
        refresh, reason, now = self.refresh, "promote is off in the trigger form", now_ms()
        with self.registry() as registry:
            state = registry.update(
                refresh.model, lambda state: state.hold(refresh.version, reason=reason, now=now, task=self.task_id)
            )
        status = state.versions[refresh.version].status
        way_out = "; the DAG roll_back promotes it as it is" if refresh.version in state.forward_targets() else ""
        return f"{reason}; version {refresh.version} is {status}{way_out}"


class ConfirmActive(CloudOperator):
    """Waits until the lookup service answers from a version, and records that."""

    operator_extra_links = (ActiveVersionLink(),)
    template_fields: Sequence[str] = ("model", "version")

    def __init__(self, *, model: str, version: Any, timeout_seconds: float = 60, **kwargs: Any) -> None:
        """Wait for a version.

        Args:
            model: the model's name.
            version: the version, as a number or its digits.
            timeout_seconds: the time after which the task fails.
            kwargs: those of `CloudOperator`.
        """
        super().__init__(**kwargs)
        self.model = model
        self.version = version
        self.timeout_seconds = timeout_seconds

    def execute(self, context: Context) -> None:
        """Ask the service for its active version until it is the expected one.

        Raises:
            AirflowFailException: the time is over.
        """
        import httpx

        version = int(self.version)
        url = self.cloud.api_url()
        ActiveVersionLink.store(context, f"{url}/v1/models/{self.model}")
        deadline = time.monotonic() + self.timeout_seconds
        with httpx.Client(base_url=url, auth=self.cloud.api_auth(), timeout=5) as client:
            while (active := _active_version(client, self.model)) != version:
                if time.monotonic() >= deadline:
                    problem = f"after {self.timeout_seconds:g} s {url} serves {self.model} from {active}"
                    raise AirflowFailException(f"{problem}, not from {version}")
                time.sleep(_POLL_SECONDS)
        with self.registry() as registry:
            registry.update(self.model, lambda state: state.confirm(version))
        self.log.info("%s serves %s from version %d", url, self.model, version)


def _active_version(client: httpx.Client, model: str) -> int | str | None:
    """The active version according to the service; a text if it does not say."""
    import httpx

    try:
        response = client.get(f"/v1/models/{model}")
        return response.json()["active_version"] if response.is_success else f"nothing (HTTP {response.status_code})"
    except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:  # the last three: it is another service
        return f"nothing ({type(error).__name__})"


class AbortVersion(RefreshOperator):
    """Aborts the version after a failure. Readers stay, or go back, to the version before the refresh.

    The version's BigQuery models and tables stay until the next refresh ends, so that a person can look at them, or
    clear the failed task.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, "dataflow_jobs")

    def __init__(self, *, dataflow_jobs: list[str], region: str, keep_days: int = 0, **kwargs: Any) -> None:
        """Abort a version.

        Args:
            dataflow_jobs: the ids of the version's jobs on Dataflow; empty strings are ignored.
            region: the region of these jobs.
            keep_days: as for `CleanUp`.
            kwargs: those of `RefreshOperator`.
        """
        super().__init__(**kwargs)
        self.keep_days = keep_days
        self.dataflow_jobs = dataflow_jobs
        self.region = region

    def execute(self, context: Context) -> None:
        """Abort the version, or roll back if it is active and not confirmed; cancel its jobs; clean up.

        Raises:
            AirflowFailException: the registry does not have the version.
        """
        if self.opened is None:
            self.log.info("no version was opened; nothing to abort")
            return
        refresh = self.refresh
        failed, now = failures(context), now_ms()
        task = next(iter(failed), "")
        reason = failed.pop(task, "a task of the run was ended from outside")
        reason = "; ".join([reason, *(f"{other}: {error}" for other, error in failed.items())])
        with self.registry() as registry:
            state = registry.update(
                refresh.model,
                lambda state: state.abort(refresh.version, refresh.active, reason=reason, now=now, task=task),
            )
        status = state.versions[refresh.version].status
        self.log.info("version %d is %s; the active version is %s", refresh.version, status, state.active or "none yet")
        for job_id in self.dataflow_jobs:
            if cancel_dataflow_job(self.cloud, self.region, job_id):
                self.log.info("cancelled Dataflow job %s", job_id)
        for job_id in cancel_queries(self.cloud.bigquery(), refresh):
            self.log.info("cancelled BigQuery job %s", job_id)
        _clean_up_before(self, self.keep_days)


class CleanUp(RefreshOperator):
    """Drops BigQuery models and tables of versions that can be neither read nor rolled back to."""

    def __init__(self, *, keep_days: int = 0, **kwargs: Any) -> None:
        """Clean up.

        Args:
            keep_days: days for which the predictions stay that readers had, to be compared with outcomes; 0: they do
                not.
            kwargs: those of `RefreshOperator`.
        """
        super().__init__(**kwargs)
        self.keep_days = keep_days

    def execute(self, context: Context) -> None:
        """Clean up."""
        _clean_up_before(self, self.keep_days)


def _clean_up_before(task: RefreshOperator, keep_days: int) -> None:
    """Drop the BigQuery models and tables of refreshes before the task's own.

    Those of the active version, and of versions that can become active again, stay. So do the tables of stale versions:
    the purge reads them. The predictions that readers had in the last `keep_days` wait for their outcomes. Only
    versions that the registry has are dropped, because a team may have tables with similar names. The registry forgets
    them afterwards, so that a task that failed in between can be tried again.
    """
    refresh, now = task.refresh, now_ms()
    with task.registry() as registry:
        state = registry.get(refresh.model)
    client = task.cloud.bigquery()
    kept = {v for v in (state.active, *state.rollback_targets(), *state.forward_targets()) if v is not None}
    kept_models = {state.versions[version].details.get("bigquery_model") for version in kept}
    served = state.served_intervals(now)
    since = now - keep_days * _DAY
    awaiting = {interval.version for interval in served if keep_days and interval.until >= since}
    older = {v for v in (*state.versions, *(interval.version for interval in served)) if v < refresh.version}
    for model in client.list_models(refresh.dataset):
        name = f"{refresh.dataset}.{model.model_id}"
        if version_of(model.model_id, refresh.model) in older and name not in kept_models:
            client.query_and_wait(f"DROP MODEL IF EXISTS `{name}`")
            task.log.info("dropped BigQuery model %s", name)
    kept.update(state.stale_versions(refresh.version))
    for table in client.list_tables(refresh.dataset):
        name = f"{refresh.dataset}.{table.table_id}"
        version = version_of(table.table_id, refresh.model)
        is_awaiting = version in awaiting and name == bigquery_name(
            refresh.dataset, refresh.model, "predictions", version
        )
        if version in older - kept and not is_awaiting:
            client.query_and_wait(f"DROP TABLE IF EXISTS `{name}`")
            task.log.info("dropped table %s", name)
    with task.registry() as registry:
        registry.update(refresh.model, lambda state: state.forget(since if keep_days else None))
