"""Jobs that run in the background, and their job resources.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from local_bigquery.errors import BigQueryError

JobResource = dict[str, Any]
Report = Callable[[dict[str, Any]], None]  # takes what `statistics.query` is to show while a job runs
Work = Callable[[Report], Awaitable[JobResource]]

_log = logging.getLogger(__name__)
_KINDS = ("query", "load", "extract", "copy")


@dataclass
class Job:
    """A job and what has become of it; times are milliseconds since the epoch."""

    project: str
    job_id: str
    configuration: Mapping[str, Any]
    state: str = "PENDING"
    error: BigQueryError | None = None
    statistics: dict[str, Any] = field(default_factory=dict)
    created: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    started: int | None = None
    ended: int | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reference(self) -> dict[str, str]:
        """The job's id as the REST API writes it."""
        return {"projectId": self.project, "jobId": self.job_id, "location": "US"}

    def resource(self) -> JobResource:
        """Return the job as the REST API describes it."""
        times = {"creationTime": self.created, "startTime": self.started, "endTime": self.ended}
        status: dict[str, Any] = {"state": self.state}
        if self.error is not None:
            status |= {"errorResult": self.error.to_error_proto(), "errors": [self.error.to_error_proto()]}
        kind = next((kind for kind in _KINDS if kind in self.configuration), "unknown")
        return {
            "kind": "bigquery#job",
            "etag": f"{self.state}-{self.ended}",
            "id": f"{self.project}:US.{self.job_id}",
            "selfLink": f"/bigquery/v2/projects/{self.project}/jobs/{self.job_id}?location=US",
            "user_email": "local@localhost",
            "jobReference": self.reference,
            "configuration": {"jobType": kind.upper(), **self.configuration},
            "status": status,
            "statistics": {
                **self.statistics,
                **{name: str(value) for name, value in times.items() if value is not None},
            },
        }

    def report(self, query_statistics: dict[str, Any]) -> None:
        """Show what is known of a query while it runs."""
        self.statistics = {"query": query_statistics}

    def complete(self, result: JobResource) -> None:
        """Take over from the emulator's description of the finished job what the client did not send itself."""
        self.statistics = result.get("statistics", {})
        for kind, part in result.get("configuration", {}).items():
            if kind in self.configuration and isinstance(part, Mapping):
                self.configuration = {**self.configuration, kind: {**part, **self.configuration[kind]}}


class JobRegistry:
    """All jobs since the start, and those that the emulator remembers from before."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], Job] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[JobResource]] = {}

    def submit(self, project: str, job_id: str, configuration: Mapping[str, Any], work: Work) -> Job:
        """Start a job in the background.

        Raises:
            BigQueryError: `duplicate`, if the project has had a job of this id.
        """
        self.check_unused(project, job_id)
        key = (project, job_id)
        job = self._jobs[key] = Job(project, job_id, configuration)
        task = self._tasks[key] = asyncio.create_task(_run(job, work))
        task.add_done_callback(lambda ended: self._end(key, ended))
        return job

    def check_unused(self, project: str, job_id: str) -> None:
        """Check that a project has had no job of this id.

        Raises:
            BigQueryError: `duplicate`.
        """
        if (project, job_id) in self._jobs:
            raise BigQueryError("duplicate", f"Already Exists: Job {project}:US.{job_id}")

    def adopt(self, resource: JobResource) -> None:
        """Take up a job that has ended elsewhere: an upload, or a job from before a restart."""
        reference, statistics = resource["jobReference"], resource.get("statistics", {})
        job = Job(reference["projectId"], reference["jobId"], resource["configuration"], state="DONE")
        job.created = int(statistics.get("creationTime", job.created))
        job.started = int(statistics.get("startTime", job.created))
        job.ended = int(statistics.get("endTime", job.created))
        job.statistics = statistics
        error = resource["status"].get("errorResult")
        if error is not None:
            job.error = BigQueryError(error["reason"], error["message"], error.get("location"))
        job.finished.set()
        self._jobs[job.project, job.job_id] = job

    def get(self, project: str, job_id: str) -> Job:
        """Return a job.

        Raises:
            BigQueryError: `notFound`.
        """
        job = self._jobs.get((project, job_id))
        if job is None:
            raise BigQueryError("notFound", f"Not found: Job {project}:US.{job_id}")
        return job

    def of_project(self, project: str, states: Iterable[str]) -> list[Job]:
        """Return a project's jobs in these states, the newest first."""
        wanted = set(states)
        jobs = [job for job in self._jobs.values() if job.project == project and job.state in wanted]
        return sorted(jobs, key=lambda job: job.created, reverse=True)

    def cancel(self, job: Job) -> None:
        """Ask a job to stop: it ends before its next step. A job that has ended is left as it is."""
        task = self._tasks.get((job.project, job.job_id))
        if task is not None:
            task.cancel()

    def forget(self, job: Job) -> None:
        """Forget a job that has ended."""
        self._jobs.pop((job.project, job.job_id), None)

    async def close(self) -> None:
        """Cancel what runs and wait until it has cleaned up."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _end(self, key: tuple[str, str], task: asyncio.Task[JobResource]) -> None:
        del self._tasks[key]
        job = self._jobs[key]
        if task.cancelled():
            job.error = BigQueryError("stopped", "Job execution was cancelled: User requested cancellation")
        elif (failure := task.exception()) is None:
            job.complete(task.result())
        elif isinstance(failure, BigQueryError):
            job.error = failure
        else:
            _log.error("Job %s failed unexpectedly", job.job_id, exc_info=failure)
            job.error = BigQueryError("invalid", f"Failure in the local BigQuery: {failure!r}")
        job.ended = time.time_ns() // 1_000_000
        job.started = job.started or job.ended
        job.state = "DONE"
        job.finished.set()


async def _run(job: Job, work: Work) -> JobResource:
    job.state = "RUNNING"
    job.started = time.time_ns() // 1_000_000
    return await work(job.report)


async def wait(job: Job, seconds: float) -> bool:
    """Wait until a job has ended, at most for a time; return whether it has."""
    if not job.finished.is_set() and seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(job.finished.wait(), seconds)
    return job.finished.is_set()
