"""The steps in the life of a version: opened, promoted, cleaned up after, aborted, rolled back to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import AirflowException, AirflowFailException, has_ended, run_url
from foreserve.decisions import decided
from foreserve.links import ServedVersionLink
from foreserve.operators.base import CloudOperator, RefreshOperator
from foreserve.operators.beam import cancel_dataflow_job
from foreserve.operators.bigquery import cancel_queries
from foreserve.operators.export import expected_receipt
from foreserve.refresh import Refresh, version_of
from prediction_store.lifecycle import ModelState, RegistryError, now_ms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from foreserve.airflow_compat import Asset, Context


class OpenVersion(CloudOperator):
    """Opens a version in the registry; returns the `Refresh`."""

    def __init__(self, *, initial: ModelState, dataset: str, create_tables: bool, **kwargs: Any) -> None:
        """Open a version of a model.

        Args:
            initial: the model's settings, as they stand before its first version.
            dataset: PROJECT.DATASET for what the refresh makes in BigQuery.
            create_tables: whether to create missing Bigtable tables and column families (needs a table admin's rights).
            kwargs: those of every operator.
        """
        super().__init__(**kwargs)
        self.initial = initial
        self.dataset = dataset
        self.create_tables = create_tables

    def execute(self, context: Context) -> dict[str, Any]:
        """Register the model if it is new, and open a version.

        Raises:
            AirflowFailException: the run is part of a backfill, or there is no model to reuse, or no reason.
            AirflowException: another run is at work on the model.
        """
        if context["dag_run"].run_type == "backfill":
            raise AirflowFailException(
                "a backfill is refused: each of its runs would serve predictions as of an old date; to do that once, "
                "trigger the DAG with that logical date"
            )
        params = context["params"]
        if params["override_gates"] and not (params["reason"] or "").strip():
            raise AirflowFailException(
                "override_gates is set, but reason is empty; trigger the DAG with the reason, which is recorded"
            )
        if self.create_tables:
            self._create_registry()
        with self.cloud.registry() as registry:
            state = registry.register(self.initial)
            champion = state.versions[state.active].details if state.active else {}
            if not champion and not params["retrain"]:
                raise AirflowFailException(
                    f"retrain is false, but {state.model} has no served version whose model could be reused; "
                    "trigger the DAG with retrain: true"
                )
            if self.create_tables:
                self._create_tables(state)
            try:
                state = registry.update(self.initial.model, lambda state: self._open(state, context))
            except RegistryError as error:
                raise AirflowException(str(error)) from error
        refresh = Refresh(
            model=state.model,
            version=state.latest,
            dataset=self.dataset,
            active=state.active,
            champion_model=champion.get("model"),
            active_predictions_table=champion.get("predictions_table"),
            cutoff=data_cutoff(context["dag_run"]).isoformat(),
        )
        self.log.info("opened version %d; readers are at %s", refresh.version, refresh.active or "none yet")
        self.log.info("data before %s count", refresh.cutoff)
        return refresh.to_xcom()

    def _open(self, state: ModelState, context: Context) -> ModelState:
        """Open a version, unless another run is at work: Airflow may still have it running, or not know it."""
        now = now_ms()
        holder = state.run_lease_holder(now)
        if holder and has_ended(context, holder):
            state = state.release_run_lease(holder)
        following = state.open(now, run_url(context))
        params = context["params"]
        run = decided(context, choices={name: value for name, value in params.items() if value is not None})
        return following.note(following.latest, run=run)

    def _create_registry(self) -> None:
        from prediction_store.tables import Tables

        Tables(self.cloud.bigtable).ensure_registry()

    def _create_tables(self, state: ModelState) -> None:
        """After the registry has let versions expire that a smaller `keep_versions` gives to garbage collection."""
        from prediction_store.tables import Tables

        Tables(self.cloud.bigtable).ensure_model(state)


def data_cutoff(dag_run: Any) -> datetime:
    """The moment before which data count for a run. It stays the same however often tasks are tried or cleared.

    That is the logical date that a person triggered the run with, or else when it was due: a scheduled run or one of a
    backfill at the end of its data interval, any other when it was triggered. Airflow 2 has no `run_after`.
    """
    logical_date: datetime | None = dag_run.logical_date
    if dag_run.run_type == "manual" and logical_date is not None:
        return logical_date
    due: datetime = getattr(dag_run, "run_after", None) or dag_run.data_interval_end
    return due


class Promote(RefreshOperator):
    """Switches readers to the new version, if it is complete and nothing else was promoted meanwhile.

    Emits an event of the asset that stands for the model's served predictions.
    """

    operator_extra_links = (ServedVersionLink(),)

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        """Promote, and tell those that wait for `asset`."""
        super().__init__(outlets=[asset], **kwargs)
        self.asset = asset

    def execute(self, context: Context) -> None:
        """Count once more what should have been written, and promote."""
        refresh = self.current
        expected = expected_receipt(self.cloud.bigquery(), refresh)
        promotion = decided(context, previous=refresh.active)

        def promote(state: ModelState) -> ModelState:
            promoted = state.promote(refresh.version, expected_active=refresh.active, expected=expected)
            return promoted.note(refresh.version, promotion=promotion)

        self.step(promote)
        ServedVersionLink.keep(context, f"{self.cloud.api_url()}/v1/models/{refresh.model}")
        context["outlet_events"][self.asset].extra = {
            "event": "prediction version promoted",
            "model": refresh.model,
            "version": refresh.version,
            "predictions_written": expected.predictions,
            "tombstones_written": expected.tombstones,
            **promotion,
        }
        self.log.info("promoted: readers go from %s to %d", refresh.active or "nothing", refresh.version)


class CleanUp(RefreshOperator):
    """Drops the models and tables of versions that can no longer be served."""

    def execute(self, context: Context) -> None:
        """Keep what the active version and those it can be rolled back to need; drop the rest."""
        _clean_up_before(self, self.current)


class AbortVersion(RefreshOperator):
    """After a failure: readers stay, or go back, where they were before the refresh, and the version is aborted.

    What it made in BigQuery stays, to be looked at or gone on with, until the next refresh ends, well or not.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, "dataflow_jobs")

    def __init__(self, *, dataflow_jobs: list[str], region: str, **kwargs: Any) -> None:
        """Cancel `dataflow_jobs` (ids, or empty) in `region`, where they still run."""
        super().__init__(**kwargs)
        self.dataflow_jobs = dataflow_jobs
        self.region = region

    def execute(self, context: Context) -> None:
        """Abort the version, or roll back if it is served and was never confirmed; stop its jobs; clean up."""
        if json.loads(self.refresh) is None:
            self.log.info("no version was opened; nothing to abort")
            return
        refresh = self.current
        with self.cloud.registry() as registry:
            state = registry.update(refresh.model, lambda state: state.abort(refresh.version, refresh.active))
        self.log.info(
            "version %d is %s; readers are at %s",
            *(refresh.version, state.versions[refresh.version].status, state.active or "none yet"),
        )
        for job_id in self.dataflow_jobs:
            if cancel_dataflow_job(self.cloud, self.region, job_id):
                self.log.info("cancelled Dataflow job %s", job_id)
        for job_id in cancel_queries(self.cloud.bigquery(), refresh):
            self.log.info("cancelled BigQuery job %s", job_id)
        _clean_up_before(self, refresh)


class ChooseRollback(CloudOperator):
    """Chooses the version to roll back to; returns it."""

    template_fields: Sequence[str] = ("model", "version")

    def __init__(self, *, model: str, version: str, **kwargs: Any) -> None:
        """Choose `version` of `model`; empty: the one before the active one."""
        super().__init__(**kwargs)
        self.model = model
        self.version = version

    def execute(self, context: Context) -> int:
        """Ask the registry what is possible."""
        with self.cloud.registry() as registry:
            targets = registry.get(self.model).rollback_targets()
        if self.version:
            return int(self.version)
        if not targets:
            raise AirflowFailException(f"{self.model} has no earlier version to roll back to")
        return targets[0]


class RollBack(CloudOperator):
    """Makes an earlier version the active one again."""

    template_fields: Sequence[str] = ("model", "version")

    def __init__(self, *, model: str, version: Any, **kwargs: Any) -> None:
        """Roll `model` back to `version`."""
        super().__init__(**kwargs)
        self.model = model
        self.version = version

    def execute(self, context: Context) -> None:
        """Roll back, and record the decision with the version that readers leave."""
        to = int(self.version)
        decision = decided(context, to=to, why=context["params"]["reason"] or "")

        def roll_back(state: ModelState) -> ModelState:
            left = state.active
            following = state.roll_back(to)
            return following if left in (to, None) else following.note(left, rollback=decision)

        try:
            with self.cloud.registry() as registry:
                state = registry.update(self.model, roll_back)
        except RegistryError as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("%s is served from version %s", self.model, state.active)


def _clean_up_before(task: RefreshOperator, refresh: Refresh) -> None:
    """Drop what refreshes before this one made and no version needs that is served or can be rolled back to."""
    with task.cloud.registry() as registry:
        state = registry.update(refresh.model, ModelState.forget)
    client = task.cloud.bigquery()
    kept = {v for v in (state.active, *state.rollback_targets()) if v is not None}
    kept_models = {state.versions[version].details.get("model") for version in kept}
    for model in client.list_models(refresh.dataset):
        name = f"{refresh.dataset}.{model.model_id}"
        if _is_older(model.model_id, refresh) and name not in kept_models:
            client.query_and_wait(f"DROP MODEL IF EXISTS `{name}`")
            task.log.info("dropped model %s", name)
    for table in client.list_tables(refresh.dataset):
        name = f"{refresh.dataset}.{table.table_id}"
        if _is_older(table.table_id, refresh) and version_of(table.table_id, refresh.model) not in kept:
            client.query_and_wait(f"DROP TABLE IF EXISTS `{name}`")
            task.log.info("dropped table %s", name)


def _is_older(name: str, refresh: Refresh) -> bool:
    """Whether a table or model was made by an earlier refresh of the same model."""
    version = version_of(name, refresh.model)
    return version is not None and version < refresh.version
