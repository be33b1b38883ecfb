"""Beam jobs: run here, or submitted to Dataflow and awaited."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator

from foreserve.airflow_compat import AirflowFailException, BaseSensorOperator
from foreserve.operators.base import RefreshOperator

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    from foreserve.airflow_compat import Context
    from foreserve.cloud import Cloud

_ERRORS_SHOWN = 3

# Around the job's own process, in two respects. It imports from the folder that holds its package, whatever Airflow's
# processes have on their path. And the kernel ends it when the task's is killed, which then can do nothing itself
# (setpriv: util-linux). The provider takes one word as the interpreter, which it also asks for Beam's version: so that
# one becomes setpriv, and setpriv the interpreter again, each in the same process.
_LAUNCHER = (
    "import os, sys; packages = os.path.dirname(os.path.dirname(sys.argv[1])); "
    "os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [packages, os.environ.get('PYTHONPATH')])); "
    "os.execvp('setpriv', ['setpriv', '--pdeathsig', 'KILL', sys.executable, *sys.argv[1:]])"
)


class RunBeamJob(RefreshOperator, BeamRunPythonPipelineOperator):
    """Runs a job of `beam_jobs`, as the provider's operator does; on Dataflow, that only submits it.

    The job's id on Dataflow is the XCom `dataflow_job_id`, as soon as the job has it. Killed before the job was
    submitted, the task takes the submitting process with it; killed after that, it cancels the job.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, *BeamRunPythonPipelineOperator.template_fields)

    def __init__(
        self,
        *,
        python: str,
        script: str,
        runner: str,
        pipeline_options: dict[str, Any],
        cloud: Cloud,
        region: str,
        **kwargs: Any,
    ) -> None:
        """Run a job.

        Args:
            python: an interpreter that has apache-beam.
            script: the job's file, in the folder of its package; beside that are the packages that it imports.
            runner: Beam's runner.
            pipeline_options: further options: Beam's and its own.
            cloud: where it works.
            region: where Dataflow runs it.
            kwargs: those of every task of a refresh.
        """
        super().__init__(
            cloud=cloud,
            py_interpreter=python,
            py_options=["-c", _LAUNCHER],
            py_file=script,
            runner=runner,
            pipeline_options={"job_name": None, **pipeline_options},  # the job's own, instead of one made here
            dataflow_config={
                "project_id": cloud.project,
                "location": region,
                "wait_until_finished": False,
                "cancel_timeout": None,
            },
            gcp_conn_id=cloud.gcp_conn_id,
            deferrable=False,
            **kwargs,
        )

    def execute(self, context: Context) -> Any:
        """Run the process, and log what it says.

        Raises:
            AirflowFailException: a newer version was opened.
            AirflowException: the job failed, or Dataflow did not take it.
        """
        version = self.current.version
        if self.step(lambda state: state.resume_export(version)).was_promoted(version):
            self.log.warning("version %d was promoted: nothing of it changes any more, and no job is run", version)
            return None
        return super().execute(context)


class AwaitDataflowJob(BaseSensorOperator):
    """Waits for a job on Dataflow, holding no worker slot; each time it looks, it logs the job's state and counters.

    Killed while it looks, it cancels the job. Mostly nothing of it runs: then `cancel_dataflow_job` does, when the
    version is aborted.
    """

    template_fields: Sequence[str] = ("job_id",)

    def __init__(self, *, job_id: str, metrics: str, cloud: Cloud, region: str, **kwargs: Any) -> None:
        """Wait for a job.

        Args:
            job_id: the job's id; empty: it did not run on Dataflow, and so has ended.
            metrics: the namespace of its counters.
            cloud: where it runs.
            region: where in it.
            kwargs: those of every sensor.
        """
        super().__init__(mode="reschedule", **kwargs)
        self.job_id = job_id
        self.metrics = metrics
        self.cloud = cloud
        self.region = region

    def poke(self, context: Context) -> bool:
        """Look how far the job is.

        Raises:
            AirflowFailException: it failed or was cancelled; says why.
        """
        if not self.job_id:
            return True
        from airflow.providers.google.cloud.hooks.dataflow import DataflowJobStatus

        hook = _hook(self.cloud)
        job = _job(self.cloud, self.region, self.job_id)
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

    def on_kill(self) -> None:
        """Cancel the job."""
        cancel_dataflow_job(self.cloud, self.region, self.job_id)


def cancel_dataflow_job(cloud: Cloud, region: str, job_id: str) -> bool:
    """Ask Dataflow to cancel a job, unless it has ended; whether it was asked. Does not wait."""
    if not job_id:
        return False
    from airflow.providers.google.cloud.hooks.dataflow import DataflowJobStatus

    hook = _hook(cloud)
    if hook.get_job(**_job(cloud, region, job_id)).get("currentState") in DataflowJobStatus.TERMINAL_STATES:
        return False
    hook.cancel_job(**_job(cloud, region, job_id))
    return True


def _hook(cloud: Cloud) -> DataflowHook:
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    return DataflowHook(gcp_conn_id=cloud.gcp_conn_id, cancel_timeout=None)


def _job(cloud: Cloud, region: str, job_id: str) -> dict[str, str]:
    return {"job_id": job_id, "project_id": cloud.project, "location": region}


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
