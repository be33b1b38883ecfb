"""Beam jobs: run here, or submitted to Dataflow and awaited."""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow.providers.google.cloud.links.dataflow import DataflowJobLink

from foreserve.airflow_compat import AirflowException, AirflowFailException, BaseSensorOperator
from foreserve.operators.base import RefreshOperator

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    from foreserve.airflow_compat import Context
    from foreserve.cloud import Cloud

_ERRORS_SHOWN = 3
_STOP_SECONDS = 10.0

# So that the kernel ends the job's process when the task's is killed, which then can do nothing itself (util-linux).
_DIE_WITH_TASK = ("setpriv", "--pdeathsig", "KILL")


class RunBeamJob(RefreshOperator):
    """Runs a job of `beam_jobs` in a process of its own; on Dataflow, that only submits it.

    The provider's BeamRunPythonPipelineOperator would leave a local job running when its task is killed, may block on
    the job's two streams of output, and takes its options in another form than the jobs'.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, "pipeline_options")
    template_fields_renderers = {"pipeline_options": "json"}  # noqa: RUF012  as Airflow declares it
    operator_extra_links = (DataflowJobLink(),)
    ui_color = "#fdeccf"

    def __init__(self, *, python: str, script: str, pipeline_options: dict[str, Any], **kwargs: Any) -> None:
        """Run a job.

        Args:
            python: an interpreter that has apache-beam.
            script: the job's file.
            pipeline_options: its options: Beam's and its own.
            kwargs: those of every task of a refresh.
        """
        super().__init__(**kwargs)
        self.python = python
        self.script = script
        self.pipeline_options = pipeline_options
        self._process: subprocess.Popen[str] | None = None

    def execute(self, context: Context) -> str:
        """Run the process, and log what it says; return the id of the job on Dataflow, or nothing.

        Raises:
            AirflowException: it failed.
        """
        version = self.current.version
        if self.step(lambda state: state.resume_export(version)).was_promoted(version):
            self.log.warning("version %d was promoted: nothing of it changes any more, and no job is run", version)
            return ""
        command = [*_DIE_WITH_TASK, self.python, self.script, *arguments(self.pipeline_options)]
        self.log.info("%s", " ".join(command))
        with subprocess.Popen(  # noqa: S603  our own command
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as self._process:
            try:
                for line in self._process.stderr or ():
                    self.log.info("%s", line.rstrip())
                job_id = self._process.stdout.read().strip() if self._process.stdout else ""
            except BaseException:
                self.on_kill()
                raise
        if self._process.returncode:
            raise AirflowException(f"the Beam job ended with code {self._process.returncode}; the log has its reasons")
        if job_id:
            where = {"project_id": self.pipeline_options["project"], "region": self.pipeline_options["region"]}
            DataflowJobLink.persist(context=context, job_id=job_id, **where)
        return job_id

    def on_kill(self) -> None:
        """Stop the process. What it may have submitted by then ends by itself, once its version is given up."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()


class AwaitDataflowJob(BaseSensorOperator):
    """Waits for a job on Dataflow, holding no worker slot; each time it looks, it logs the job's state and counters.

    Killed while it looks, it cancels the job. Mostly nothing of it runs: then `cancel_dataflow_job` does, when the
    version is abandoned.
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


def arguments(options: Mapping[str, Any]) -> Iterator[str]:
    """Options as Beam's command line has them: none for None, flags for booleans, one for each item of several."""
    for name, value in options.items():
        if isinstance(value, bool):
            yield f"--{name}" if value else f"--no_{name}"
        elif isinstance(value, dict):
            yield from (f"--{name}={key}={item}" for key, item in value.items())
        elif isinstance(value, list):
            yield from (f"--{name}={item}" for item in value)
        elif value is not None:
            yield f"--{name}={value}"


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
