"""Beam jobs: run in the task, or submitted to Dataflow and awaited."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator

from foreserve.airflow_compat import AirflowException, AirflowFailException, BaseSensorOperator
from foreserve.operators.base import ErrorFirst, RefreshOperator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from airflow.providers.apache.beam.hooks.beam import BeamHook
    from airflow.providers.google.cloud.hooks.dataflow import DataflowHook

    from foreserve.airflow_compat import Context
    from foreserve.cloud import Cloud
    from prediction_store.lifecycle import ModelState

_LOCAL_RUNNER = "FnApiRunner"
_ERRORS_SHOWN = 3
_RATE_LIMIT, _SERVER_ERRORS = 429, 500
_TRACEBACK = "Traceback (most recent call last):"

# The wrapper of a job's Python process does two things:
# 1. It puts the folder that holds the job's package first on PYTHONPATH, whatever path Airflow's processes have.
# 2. It runs the job under `setpriv --pdeathsig KILL` (util-linux). So the kernel kills the job when the task's process
#    dies, even if that is killed by SIGKILL and cannot clean up.
# The provider accepts one executable as the interpreter, which it also asks for Beam's version. So the interpreter
# runs this code, which executes setpriv, which executes the interpreter with the job; all in the same process.
_WRAPPER = (
    "import os, sys; packages = os.path.dirname(os.path.dirname(sys.argv[1])); "
    "os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [packages, os.environ.get('PYTHONPATH')])); "
    "os.execvp('setpriv', ['setpriv', '--pdeathsig', 'KILL', sys.executable, *sys.argv[1:]])"
)


class LastError:
    """The last error in the output of a Python process.

    Attributes:
        text: the line after the last traceback, with the class and the message of the exception. Without a traceback,
            the last line, as `sys.exit` writes it. Empty if there is no output.
    """

    def __init__(self) -> None:
        """Begin before the first line."""
        self.text = ""
        self._is_in_traceback = False
        self._has_traceback = False

    def read(self, line: str) -> None:
        """Take the next line."""
        if _TRACEBACK in line:
            self._is_in_traceback = self._has_traceback = True
        elif self._is_in_traceback and line[:1].strip():
            self.text, self._is_in_traceback = line.strip(), False
        elif not self._has_traceback and line.strip():
            self.text = line.strip()


class RunBeamJob(RefreshOperator, BeamRunPythonPipelineOperator):
    """Runs a job of `beam_jobs` by the provider's operator. On Dataflow, it only submits the job.

    A job of few rows runs in the task, as Dataflow takes minutes to start its workers. Without rows, no job is run.

    The XCom `dataflow_job_id` holds the job's id on Dataflow, as soon as the job has one. If the task is killed before
    the job is submitted, the submitting process is killed too. If it is killed later, it cancels the job.
    """

    template_fields: Sequence[str] = (*RefreshOperator.template_fields, *BeamRunPythonPipelineOperator.template_fields)

    def __init__(
        self,
        *,
        python: str,
        script: str,
        runner: str,
        options: dict[str, Any],
        rows_without_dataflow: int,
        cloud: Cloud,
        region: str,
        **kwargs: Any,
    ) -> None:
        """Run a job.

        Args:
            python: an interpreter that has apache-beam.
            script: the job's file, in the folder of its package. The packages that the job imports are beside that.
            runner: Beam's runner for jobs of many rows.
            options: the options of Beam and of the job.
            rows_without_dataflow: a job of fewer rows runs in the task.
            cloud: the environment of the job.
            region: the region of a Dataflow job.
            kwargs: those of `RefreshOperator`.
        """
        super().__init__(
            cloud=cloud,
            py_interpreter=python,
            py_options=["-c", _WRAPPER],
            py_file=script,
            runner=runner,
            pipeline_options={"job_name": None, **options},  # None: the job chooses its name, not the provider
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
        self.rows_without_dataflow = rows_without_dataflow

    @property
    def beam_hook(self) -> BeamHook:
        """The hook that runs the job's process. The provider's operator sets it."""
        return self._beam_hook

    @beam_hook.setter
    def beam_hook(self, hook: BeamHook) -> None:
        self._beam_hook, start = hook, hook.start_python_pipeline

        def start_and_keep_error(*, process_line_callback: Callable[[str], None] | None = None, **kwargs: Any) -> None:
            error = LastError()

            def read(line: str) -> None:
                error.read(line)
                if process_line_callback is not None:
                    process_line_callback(line)

            try:
                start(process_line_callback=read, **kwargs)
            except AirflowException as failure:
                raise AirflowException(f"{error.text}\n{failure}" if error.text else str(failure)) from None

        hook.start_python_pipeline = start_and_keep_error  # type: ignore[method-assign,assignment]

    def set_fields(self, context: Context) -> None:
        """Add the options that depend on the refresh."""
        self.pipeline_options = {
            **self.pipeline_options,
            "model": self.refresh.model,
            "version": self.refresh.version,
        }

    def begin(self, state: ModelState) -> ModelState:
        """The step in the registry before the job. Subclasses may override this."""
        return state

    def count_rows(self, state: ModelState) -> int | None:
        """The number of rows that the job will write; None if it is not known. Subclasses may add options for them."""
        return None

    def end_without_rows(self, state: ModelState) -> None:
        """Record in the registry that the work is done, as the job does at its end. Subclasses may override this."""

    def execute(self, context: Context) -> Any:
        """Run the job's process, and log its output. No job is run for a version that was promoted.

        Raises:
            AirflowFailException: a newer version was opened, stale cells were not purged before the export, or Dataflow
                started no job.
            AirflowException: the job failed, or Dataflow did not accept it. The message begins with the job's error.
        """
        version = self.refresh.version
        state = self.step(self.begin)
        if state.was_promoted(version):
            self.log.warning("no job is run: version %d was promoted, so its cells must not change any more", version)
            return None
        rows = self.count_rows(state)
        if rows == 0:
            self.log.info("no job is run: there is no row to write")
            self.end_without_rows(state)
            return None
        if rows is not None and rows < self.rows_without_dataflow:
            self.runner = _LOCAL_RUNNER
        self.log.info(
            "%s rows to write: %s (in the task below %d rows)",
            "an unknown number of" if rows is None else rows,
            self.runner,
            self.rows_without_dataflow,
        )
        result = super().execute(context)
        if self.is_dataflow and not self.dataflow_job_id:
            raise AirflowFailException(
                "the job's process ended without the id of a job on Dataflow, so nothing was written; options such as "
                "template_location or dry_run make Dataflow start no job"
            )
        return result


class AwaitDataflowJob(ErrorFirst, BaseSensorOperator):
    """Waits for a job on Dataflow without a worker slot. Each poke logs the job's state and counters.

    If the task is killed during a poke, it cancels the job. Between pokes no process runs; then `AbortVersion` cancels
    the job.
    """

    template_fields: Sequence[str] = ("job_id",)

    def __init__(self, *, job_id: str, metrics: str, cloud: Cloud, region: str, **kwargs: Any) -> None:
        """Wait for a job.

        Args:
            job_id: the job's id; empty if it ran in the task, and so has ended.
            metrics: the namespace of the job's counters.
            cloud: the environment of the job.
            region: the job's region.
            kwargs: those of every sensor.
        """
        super().__init__(mode="reschedule", **kwargs)
        self.job_id = job_id
        self.metrics = metrics
        self.cloud = cloud
        self.region = region

    def poke(self, context: Context) -> bool:
        """Log the job's progress; return True if it has ended.

        A call that Dataflow refuses for now, for example because of its rate limit, or that does not reach Dataflow, is
        made again at the next poke. Otherwise, as many such calls as the task has tries would end the job.

        Raises:
            AirflowFailException: the job failed or was cancelled. The message has the job's last errors.
        """
        if not self.job_id:
            return True
        from googleapiclient.errors import HttpError
        from httplib2 import HttpLib2Error

        try:
            return self._look()
        except (HttpError, HttpLib2Error, OSError) as error:
            if isinstance(error, HttpError) and error.status_code < _SERVER_ERRORS and error.status_code != _RATE_LIMIT:
                raise
            self.log.warning("Dataflow does not say how the job is: %s", error)
            return False

    def _look(self) -> bool:
        """Log the job's progress; return True if it has ended."""
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
    """Ask Dataflow to cancel a job, without waiting; return False if the job has ended or `job_id` is empty."""
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
    """The counters of a namespace, each summed over all steps.

    Dataflow reports each counter twice: for finished work, and (tentative) including work in progress. Only the former
    is exact once a job has ended.
    """
    counters: Counter[str] = Counter()
    for update in updates:
        context = update["name"].get("context", {})
        if context.get("namespace") == namespace and (context.get("tentative") == "true") is tentative:
            counters[update["name"]["name"]] += int(update.get("scalar", 0))
    return counters
