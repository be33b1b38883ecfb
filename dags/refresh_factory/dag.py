"""The refresh DAG, and the DAG that compares predictions with outcomes."""

import importlib.util
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.python import BranchPythonOperator

from foreserve.airflow_compat import DAG, HITL_UNAVAILABLE, Asset, Context, TaskGroup, TriggerRule, named_asset
from foreserve.cloud import Cloud
from foreserve.operators import (
    AbortVersion,
    ApplyPredictionGate,
    ApplyQualityGate,
    AwaitDataflowJob,
    CleanUp,
    ConfirmActive,
    MeasureOutcomes,
    NameKeptChampion,
    OpenVersion,
    PrepareExport,
    Promote,
    RunBeamJob,
    RunExport,
    RunPurge,
    RunQuery,
    RunSmokeTest,
    WaitForReplication,
)
from foreserve.operators.base import keep_failure
from foreserve.operators.bigquery import prediction_fields, why_not_compared
from foreserve.operators.gates import QUALITY_GATE
from prediction_store.lifecycle import ModelState
from refresh_factory.checks import check_metrics, check_templates
from refresh_factory.documentation import GROUPS, OUTCOMES_TASK, TASKS, dag_documentation
from refresh_factory.environment import Environment
from refresh_factory.pipeline import (
    PIPELINE_FILE,
    Outcomes,
    Pipeline,
    PipelineError,
    Problem,
    load_pipeline,
    refuse_shared_model,
)
from refresh_factory.statements import Statements
from refresh_factory.trigger_form import trigger_form

_LONG_AGO = datetime(1900, 1, 1, tzinfo=UTC)
"""The start date, which Airflow 2 demands of a schedule. No runs are made for the time since then.

A run with an earlier logical date would succeed without running a task.
"""

_RUN_TIMEOUT = timedelta(days=7)
"""Longer than a training of 72 hours and two answers of a person within 24 hours.

It ends a run with a logical date in the future, whose tasks Airflow does not start, and for which later runs wait.
"""

_JOB_TIMEOUT = timedelta(hours=6)
_REPLICATION_TIMEOUT = timedelta(hours=2)
_REPLICATION_PAUSE = 60
_PROGRESS_SECONDS = 30
"""The time between looks at a Dataflow job. Each look starts a process."""


def refresh_dag(dag_file: str) -> DAG:
    """The DAG of the pipeline in whose folder `dag_file` lies.

    Raises:
        PipelineError: the pipeline cannot be used.
        pydantic.ValidationError: an environment variable is missing or wrong.
    """
    folder = Path(dag_file).parent
    pipeline = load_pipeline(folder)
    refuse_shared_model(folder, pipeline.model)
    if problems := check_metrics(folder, pipeline):
        raise PipelineError(problems)
    if HITL_UNAVAILABLE and "ask" in (pipeline.quality_gate.on_breach, pipeline.prediction_gate.on_breach):
        problem = (
            "on_breach: ask: this Airflow cannot ask a person (3.1 and later can); use stop, and override_gates in the "
            f"trigger form to go on in spite of a breach ({HITL_UNAVAILABLE})"
        )
        raise PipelineError([Problem(folder / PIPELINE_FILE, None, problem)])
    environment = Environment()
    alerts = pipeline.alerts or environment.alerts
    late_dag, late_tasks = alerts.deadline_arguments()
    schedule = pipeline.schedule or [Asset(uri) for uri in pipeline.assets] or None
    with DAG(
        dag_id=f"refresh_{pipeline.model}",
        description=pipeline.description,
        doc_md=dag_documentation(pipeline),
        schedule=schedule if environment.scheduled else None,
        start_date=_LONG_AGO,
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=_RUN_TIMEOUT,
        params=trigger_form(pipeline.smoke_test),
        **late_dag,
        tags=["foreserve", pipeline.entity_type],
        default_args={
            "owner": pipeline.owner,
            "retries": environment.retries,
            "retry_delay": timedelta(seconds=environment.retry_delay_seconds),
            "on_failure_callback": [keep_failure, *(config.build() for config in alerts.on_failure)],
            **late_tasks,
        },
    ) as dag:
        _add_tasks(folder, pipeline, environment)
        for task in dag.tasks:
            task.doc_md = TASKS[task.task_id]  # type: ignore[misc]  # not mapped, so not read-only
    if pipeline.outcomes:
        _add_outcomes_dag(folder, pipeline, pipeline.outcomes, environment)
    return dag


def _add_outcomes_dag(folder: Path, pipeline: Pipeline, outcomes: Outcomes, environment: Environment) -> None:
    """Add the DAG that compares what readers had with outcomes. Airflow finds it, as it registers itself."""
    alerts = pipeline.alerts or environment.alerts
    with DAG(
        dag_id=f"outcomes_{pipeline.model}",
        description=f"Compares the predictions of {pipeline.model} that readers had with what happened since.",
        schedule=outcomes.schedule if environment.scheduled else None,
        start_date=_LONG_AGO,
        catchup=False,
        max_active_runs=1,
        tags=["foreserve", pipeline.entity_type],
        default_args={
            "owner": pipeline.owner,
            "retries": environment.retries,
            "retry_delay": timedelta(seconds=environment.retry_delay_seconds),
            "on_failure_callback": [config.build() for config in alerts.on_failure],
        },
    ):
        MeasureOutcomes(
            task_id="measure_outcomes",
            model=pipeline.model,
            dataset=f"{environment.project}.{environment.dataset}",
            statements=Statements(folder, pipeline, environment.project, environment.dataset),
            gate=pipeline.quality_gate,
            min_outcomes=outcomes.min_outcomes,
            cloud=_cloud(pipeline, environment),
            doc_md=OUTCOMES_TASK,
        )


def _cloud(pipeline: Pipeline, environment: Environment) -> Cloud:
    """The clients of a pipeline's tasks, with its labels and limits of BigQuery jobs."""
    return replace(
        environment.cloud(),
        labels={**environment.labels, "model": pipeline.model},
        maximum_bytes_billed=pipeline.query_limits.maximum_bytes_billed,
        job_timeout_minutes=pipeline.query_limits.timeout_minutes,
    )


def _add_tasks(folder: Path, pipeline: Pipeline, environment: Environment) -> None:
    """Add all tasks of a refresh: prepare, train, predict, export, release."""
    statements = Statements(folder, pipeline, environment.project)
    cloud = _cloud(pipeline, environment)
    keep_days = pipeline.outcomes.keep_days if pipeline.outcomes else 0
    query = partial(RunQuery, cloud=cloud, poll_seconds=environment.poll_seconds)
    after_skipped = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS

    with _group("Prepare"):
        open_version = OpenVersion(
            task_id="open_version",
            cloud=cloud,
            initial=ModelState(
                pipeline.model,
                pipeline.entity_type,
                pipeline.row_keys,
                pipeline.keep_versions,
                pipeline.max_age_hours,
            ),
            dataset=f"{environment.project}.{environment.dataset}",
            create_tables=environment.create_tables,
            find_mistakes=lambda: [str(problem) for problem in check_templates(folder, pipeline)],
        )
        retrain = BranchPythonOperator(
            task_id="retrain", python_callable=lambda params: "train" if params["retrain"] else "predict"
        )
    with _group("Train"):
        train = query(
            task_id="train",
            statement=lambda refresh, _: statements.train(refresh),
            locate=lambda refresh, _, *error: statements.locate("train.sql", refresh, refresh.candidate_model, *error),
        )
        evaluate = query(
            task_id="evaluate",
            statement=lambda refresh, context: statements.evaluate(
                refresh,
                compare=context["params"]["compare"] and why_not_compared(cloud.bigquery(), refresh) is None,
            ),
            locate=lambda refresh, _, *error: statements.locate("evaluate.sql", refresh, None, *error),
        )
        quality_gate = ApplyQualityGate(task_id=QUALITY_GATE, gate=pipeline.quality_gate, cloud=cloud)
        kept_champion = NameKeptChampion(task_id="kept_champion")
    with _group("Predict"):
        predict = query(
            task_id="predict",
            statement=lambda refresh, context: statements.predict(refresh, _chosen_model(context)),
            locate=lambda refresh, context, *error: statements.locate(
                "predict.sql", refresh, _chosen_model(context), *error
            ),
            trigger_rule=after_skipped,
        )
        measure = query(
            task_id="measure",
            statement=lambda refresh, _: statements.measure(refresh, prediction_fields(cloud.bigquery(), refresh)),
        )
        prediction_gate = ApplyPredictionGate(task_id="prediction_gate", gate=pipeline.prediction_gate, cloud=cloud)
    with _group("Export"):
        changes = query(
            task_id="changes",
            statement=lambda refresh, context: statements.changes(refresh, context["params"]["export"]),
        )
        prepare_export = PrepareExport(
            task_id="prepare_export",
            bigquery_model="{{ ti.xcom_pull(task_ids='quality_gate') or '' }}",
            purge_task_id="purge",
            export_task_id="export",
            cloud=cloud,
        )
        purge, await_purge = _beam_job(environment, cloud, RunPurge, "purge", "purge_stale_cells")
        export, await_export = _beam_job(
            environment, cloud, RunExport, "export", "export_predictions", trigger_rule=after_skipped
        )
        wait_for_replication = WaitForReplication(
            task_id="wait_for_replication",
            entity_type=pipeline.entity_type,
            poll_seconds=environment.poll_seconds,
            poke_interval=_REPLICATION_PAUSE,
            timeout=_REPLICATION_TIMEOUT.total_seconds(),
            cloud=cloud,
        )
    with _group("Release"):
        smoke_test = RunSmokeTest(
            task_id="smoke_test", smoke_test=pipeline.smoke_test, reports=environment.report_folder(), cloud=cloud
        )
        promote = Promote(task_id="promote", asset=_predictions_asset(pipeline, environment), cloud=cloud)
        confirm = ConfirmActive(
            task_id="confirm",
            cloud=cloud,
            model=pipeline.model,
            version="{{ ti.xcom_pull(task_ids='open_version')['version'] }}",
        )
        clean_up = CleanUp(task_id="clean_up", keep_days=keep_days, cloud=cloud)
        abort = AbortVersion(
            task_id="abort",
            dataflow_jobs=[_dataflow_job_id("purge"), _dataflow_job_id("export")],
            region=environment.region,
            keep_days=keep_days,
            trigger_rule=TriggerRule.ONE_FAILED,
            cloud=cloud,
        )

    open_version >> retrain >> train >> evaluate >> quality_gate >> [predict, kept_champion]
    retrain >> predict >> measure >> prediction_gate >> changes >> prepare_export >> purge >> await_purge >> export
    prepare_export >> export >> await_export >> wait_for_replication >> smoke_test >> promote
    promote >> confirm >> [clean_up, abort]  # after a failure anywhere, confirm counts as failed too
    kept_champion >> abort  # so that no run fails without aborting its version


def _chosen_model(context: Context) -> str | None:
    """The BigQuery model that the quality gate chose; None if the run did not train, so that the champion predicts."""
    chosen: str | None = context["ti"].xcom_pull(task_ids=QUALITY_GATE)
    return chosen


def _group(group_id: str) -> TaskGroup:
    """A group of tasks, which keep their ids. Its id begins with a capital, because a task may have the same name."""
    return TaskGroup(group_id, prefix_group_id=False, tooltip=GROUPS[group_id])


def _predictions_asset(pipeline: Pipeline, environment: Environment) -> Asset:
    """The asset that stands for the model's predictions. Each promotion is an event of it."""
    uri = f"foreserve://{environment.project}/{environment.bigtable_instance}/{pipeline.model}"
    return named_asset(f"{pipeline.model} predictions", uri)


def _beam_job(
    environment: Environment,
    cloud: Cloud,
    operator: type[RunBeamJob],
    task_id: str,
    module: str,
    **kwargs: Any,
) -> tuple[RunBeamJob, AwaitDataflowJob]:
    """The tasks of a Beam job: one runs it here or submits it to Dataflow, the other waits for it on Dataflow.

    Args:
        environment: the settings of all DAGs.
        cloud: the clients of the pipeline.
        operator: the class of the first task.
        task_id: the id of the first task, and the namespace of the job's counters.
        module: the job's module in `beam_jobs`.
        kwargs: further arguments of the first task.
    """
    spec = importlib.util.find_spec("beam_jobs")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("beam_jobs is not on the Python path; deploy it beside the DAGs")
    start = operator(
        task_id=task_id,
        python=environment.python,
        script=str(Path(spec.origin).parent / f"{module}.py"),
        runner=environment.beam_runner,
        region=environment.region,
        options={
            **environment.job_options(),
            "bigtable_project": environment.project,
            "bigtable_instance": environment.bigtable_instance,
            "export_app_profile": environment.export_app_profile,
            "registry_app_profile": environment.registry_app_profile,
        },
        rows_without_dataflow=environment.rows_without_dataflow,
        execution_timeout=_JOB_TIMEOUT,
        cloud=cloud,
        **kwargs,
    )
    wait = AwaitDataflowJob(
        task_id=f"await_{task_id}",
        job_id=_dataflow_job_id(task_id),
        metrics=task_id,
        cloud=cloud,
        region=environment.region,
        poke_interval=_PROGRESS_SECONDS,
        timeout=_JOB_TIMEOUT.total_seconds(),
    )
    return start, wait


def _dataflow_job_id(task_id: str) -> str:
    """A template of the id of the Dataflow job that a task submitted; it renders empty if the task submitted none."""
    return f"{{{{ ti.xcom_pull(task_ids='{task_id}', key='dataflow_job_id') or '' }}}}"
