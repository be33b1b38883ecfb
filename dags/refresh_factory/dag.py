"""The refresh DAG."""

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.python import BranchPythonOperator, ShortCircuitOperator

from foreserve.airflow_compat import DAG, Asset, TriggerRule, named_asset
from foreserve.operators import (
    CANNOT_ASK,
    AbortVersion,
    AwaitDataflowJob,
    CheckPredictions,
    CheckQuality,
    CleanUp,
    ConfirmServed,
    OpenVersion,
    PrepareExport,
    Promote,
    RunBeamJob,
    RunQuery,
    SmokeTest,
    WaitForReplication,
)
from foreserve.refresh import Refresh
from foreserve.smoke_test import Load
from prediction_store.lifecycle import ModelState
from refresh_factory.documentation import TASKS, dag_documentation
from refresh_factory.environment import Environment
from refresh_factory.pipeline import Pipeline, PipelineError, Problem, load_pipeline
from refresh_factory.statements import Statements
from refresh_factory.trigger_form import trigger_form

_XCOM = "ti.xcom_pull(task_ids='open_version')"
_REFRESH = f"refresh({_XCOM})"  # in a template

_LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)
"""What Airflow 2 wants of a schedule; nothing is caught up with."""

_JOB_TIMEOUT = timedelta(hours=6)
_PROGRESS_SECONDS = 30  # each look at a job starts a process


def refresh_dag(dag_file: str) -> DAG:
    """The DAG of the pipeline in whose folder `dag_file` lies.

    Raises:
        PipelineError: the pipeline cannot be used.
        pydantic.ValidationError: an environment variable is missing or wrong.
    """
    folder = Path(dag_file).parent
    pipeline = load_pipeline(folder)
    if CANNOT_ASK and "ask" in (pipeline.quality_gate.when_closed, pipeline.checks.when_closed):
        problem = (
            "when_closed: ask: this Airflow cannot ask a person (3.1 and later can); use stop and, to go on all the "
            f"same, override_gates in the trigger form ({CANNOT_ASK})"
        )
        raise PipelineError([Problem(folder / "pipeline.yaml", None, problem)])
    return _Builder(folder, pipeline, Environment()).dag()


class _Builder:
    """Makes the tasks of one pipeline, and chains them."""

    def __init__(self, folder: Path, pipeline: Pipeline, environment: Environment) -> None:
        self._folder = folder
        self._pipeline = pipeline
        self._environment = environment
        self._cloud = environment.cloud()
        self._on_version: dict[str, Any] = {"cloud": self._cloud, "refresh": f"{{{{ {_XCOM} | tojson }}}}"}

    def dag(self) -> DAG:
        """Open a version; train and judge a model; predict; export; test; promote."""
        pipeline, environment = self._pipeline, self._environment
        alerts = pipeline.alerts or environment.alerts
        late_dag, late_tasks = alerts.deadline_arguments()
        with DAG(
            dag_id=f"refresh_{pipeline.model}",
            description=pipeline.description,
            doc_md=dag_documentation(pipeline),
            schedule=self._schedule() if environment.scheduled else None,
            start_date=_LONG_AGO,
            catchup=False,
            max_active_runs=1,
            params=trigger_form(pipeline.smoke_test),
            **late_dag,
            tags=["foreserve", pipeline.entity_type],
            default_args={
                "owner": pipeline.owner,
                "retries": environment.retries,
                "retry_delay": timedelta(seconds=environment.retry_delay_seconds),
                "on_failure_callback": [config.build() for config in alerts.on_failure],
                **late_tasks,
            },
            user_defined_macros={
                "refresh": Refresh.from_xcom,
                "sql": Statements(self._folder, pipeline, environment.project),
            },
        ) as dag:
            self._chain(dag)
            for task in dag.tasks:
                task.doc_md = TASKS[task.task_id]  # type: ignore[misc]  # not mapped, so not read-only
        return dag

    def _schedule(self) -> str | list[Asset] | None:
        return self._pipeline.schedule or [Asset(uri) for uri in self._pipeline.assets] or None

    def _chain(self, dag: DAG) -> None:
        pipeline, cloud = self._pipeline, self._cloud
        open_version = OpenVersion(
            task_id="open_version",
            cloud=cloud,
            initial=ModelState(pipeline.model, pipeline.entity_type, pipeline.row_keys, pipeline.keep_versions),
            dataset=f"{self._environment.project}.{self._environment.dataset}",
            create_tables=self._environment.create_tables,
        )
        on_version = self._on_version

        retrain = BranchPythonOperator(
            task_id="retrain",
            python_callable=lambda params: "train" if params["retrain"] else "predict",
        )
        train = self._query("train", f"sql.train({_REFRESH})")
        evaluate = self._query("evaluate", f"sql.evaluate({_REFRESH}, params.compare)")
        quality_gate = CheckQuality(task_id="quality_gate", gate=pipeline.quality_gate, **on_version)
        predict = self._query(
            "predict",
            f"sql.predict({_REFRESH}, ti.xcom_pull(task_ids='quality_gate'))",
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        check = self._query("check", f"sql.check({_REFRESH})")
        prediction_gate = CheckPredictions(task_id="prediction_gate", checks=pipeline.checks, **on_version)
        changes = self._query("changes", f"sql.changes({_REFRESH}, params.export)")
        prepare_export = PrepareExport(
            task_id="prepare_export",
            model="{{ ti.xcom_pull(task_ids='quality_gate') or '' }}",
            purge_task_id="purge",
            export_task_id="export",
            **on_version,
        )
        purge, await_purge = self._beam_job("purge", "purge_stale_cells")
        export, await_export = self._beam_job(
            "export",
            "export_predictions",
            {"source_table": f"{{{{ {_REFRESH}.changes_table }}}}"},
            trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        )
        wait_for_replication = WaitForReplication(
            task_id="wait_for_replication",
            entity_type=pipeline.entity_type,
            poll_seconds=self._environment.poll_seconds,
            **on_version,
        )
        smoke_test = SmokeTest(
            task_id="smoke_test",
            load=Load(pipeline.smoke_test.requests, pipeline.smoke_test.rate),
            objective_p99_ms=pipeline.smoke_test.objective_p99_ms,
            reports=self._environment.report_folder(),
            **on_version,
        )
        may_promote = ShortCircuitOperator(task_id="may_promote", python_callable=lambda params: params["promote"])
        promote = Promote(task_id="promote", asset=self._served_predictions(), **on_version)
        confirm = ConfirmServed(
            task_id="confirm", cloud=cloud, model=pipeline.model, version=f"{{{{ {_REFRESH}.version }}}}"
        )
        clean_up = CleanUp(task_id="clean_up", **on_version)
        abort = AbortVersion(
            task_id="abort",
            dataflow_jobs=[_job_id("purge"), _job_id("export")],
            region=self._environment.region,
            trigger_rule=TriggerRule.ONE_FAILED,
            **on_version,
        )

        open_version >> retrain >> train >> evaluate >> quality_gate >> predict
        retrain >> predict >> check >> prediction_gate >> changes >> prepare_export >> purge >> await_purge >> export
        prepare_export >> export >> await_export >> wait_for_replication >> smoke_test >> may_promote >> promote
        promote >> confirm >> clean_up
        [task for task in dag.tasks if task not in (clean_up, abort)] >> abort

    def _served_predictions(self) -> Asset:
        """The asset that stands for what readers of the model get; each promotion is an event of it."""
        environment, pipeline = self._environment, self._pipeline
        uri = f"foreserve://{environment.project}/{environment.bigtable_instance}/{pipeline.model}"
        return named_asset(f"{pipeline.model} predictions", uri)

    def _query(self, task_id: str, statement: str, **kwargs: Any) -> RunQuery:
        """A BigQuery job that waits in the triggerer."""
        return RunQuery(
            task_id=task_id,
            sql=f"{{{{ {statement} }}}}",
            poll_seconds=self._environment.poll_seconds,
            **self._on_version,
            **kwargs,
        )

    def _beam_job(
        self, task_id: str, module: str, options: dict[str, str] | None = None, **kwargs: Any
    ) -> tuple[RunBeamJob, AwaitDataflowJob]:
        """A job of `beam_jobs`: the task that runs it here or submits it to Dataflow, and the one that awaits it there.

        The job has its counters in a namespace of the first task's name.
        """
        environment = self._environment
        spec = importlib.util.find_spec("beam_jobs")
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError("beam_jobs is not on the Python path; deploy it beside the DAGs")
        start = RunBeamJob(
            task_id=task_id,
            python=environment.python,
            script=str(Path(spec.origin).parent / f"{module}.py"),
            runner=environment.beam_runner,
            region=environment.region,
            pipeline_options={
                **environment.job_options(),
                "bigtable_project": environment.project,
                "bigtable_instance": environment.bigtable_instance,
                "export_app_profile": environment.export_app_profile,
                "registry_app_profile": environment.registry_app_profile,
                "model": self._pipeline.model,
                "version": f"{{{{ {_REFRESH}.version }}}}",
                **(options or {}),
            },
            execution_timeout=_JOB_TIMEOUT,
            **self._on_version,
            **kwargs,
        )
        wait = AwaitDataflowJob(
            task_id=f"await_{task_id}",
            job_id=_job_id(task_id),
            metrics=task_id,
            cloud=self._cloud,
            region=environment.region,
            poke_interval=_PROGRESS_SECONDS,
            timeout=_JOB_TIMEOUT.total_seconds(),
        )
        return start, wait


def _job_id(task_id: str) -> str:
    """A template of the id of the Dataflow job that a task submitted, empty where it did not."""
    return f"{{{{ ti.xcom_pull(task_ids='{task_id}', key='dataflow_job_id') or '' }}}}"
