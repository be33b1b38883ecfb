"""Jobs that run in the background, and their resources.

https://cloud.google.com/bigquery/docs/reference/rest/v2/Job
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Self

from local_bigquery.backend.emulator import JobResource
from local_bigquery.errors import BigQueryError, not_found
from local_bigquery.run.routing import gateway_steps
from local_bigquery.sql.scripts import Steps

Report = Callable[[dict[str, Any]], None]  # receives the `statistics.query` of a job that runs
Work = Callable[[Report], Awaitable[JobResource]]

_log = logging.getLogger(__name__)
_KINDS = ("query", "load", "extract", "copy")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class QueryJob:
    """A query job to run.

    Attributes:
        project: the project of the job.
        job_id: the id of the job.
        configuration: the configuration that the client sent.
        report: receives the progress of the job.
    """

    project: str
    job_id: str
    configuration: Mapping[str, Any]
    report: Report = lambda _: None

    @property
    def query(self) -> Mapping[str, Any]:
        """The query configuration."""
        query: Mapping[str, Any] = self.configuration["query"]
        return query

    @property
    def sql(self) -> str:
        """The text of the query."""
        sql: str = self.query.get("query", "")
        return sql

    @property
    def is_legacy_sql(self) -> bool:
        """True if the text is legacy SQL, which the gateway does not read."""
        return bool(self.query.get("useLegacySql"))

    @property
    def default_dataset(self) -> str | None:
        """The dataset that unqualified names belong to."""
        dataset: str | None = self.query.get("defaultDataset", {}).get("datasetId")
        return dataset

    def with_query(self, query: Mapping[str, Any]) -> Self:
        """Return the job with another query configuration."""
        return replace(self, configuration={**self.configuration, "query": query})

    def gateway_steps(self) -> Steps | None:
        """Return the steps that the gateway must run, or None if the emulator can run the job.

        Raises:
            BigQueryError: `invalidQuery` if the text contains BigQuery ML and cannot be run.
        """
        return None if self.is_legacy_sql else gateway_steps(self.sql)


@dataclass
class Job:
    """A job and its state. Times are in milliseconds since the epoch."""

    project: str
    job_id: str
    configuration: Mapping[str, Any]
    state: str = "PENDING"
    error: BigQueryError | None = None
    statistics: dict[str, Any] = field(default_factory=dict)
    created: int = field(default_factory=_now_ms)
    started: int | None = None
    ended: int | None = None
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def reference(self) -> dict[str, str]:
        """The JobReference of the REST API."""
        return {"projectId": self.project, "jobId": self.job_id, "location": "US"}

    def resource(self) -> JobResource:
        """Return the resource of the job."""
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
        """Set the `statistics.query` of a job that runs."""
        self.statistics = {"query": query_statistics}

    def complete(self, result: JobResource) -> None:
        """Adopt statistics and defaults of the configuration from the emulator's resource of the finished job."""
        self.statistics = result.get("statistics", {})
        for kind, part in result.get("configuration", {}).items():
            if kind in self.configuration and isinstance(part, Mapping):
                self.configuration = {**self.configuration, kind: {**part, **self.configuration[kind]}}


class JobRegistry:
    """All jobs of this process, and those that the emulator keeps from earlier ones."""

    def __init__(self) -> None:
        self._jobs: dict[tuple[str, str], Job] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[JobResource]] = {}

    def submit(self, project: str, job_id: str, configuration: Mapping[str, Any], work: Work) -> Job:
        """Start a job in the background.

        Raises:
            BigQueryError: `duplicate` if the project has had a job with this id.
        """
        self.check_unused(project, job_id)
        key = (project, job_id)
        job = self._jobs[key] = Job(project, job_id, configuration)
        task = self._tasks[key] = asyncio.create_task(_run(job, work))
        task.add_done_callback(lambda ended: self._end(key, ended))
        return job

    def check_unused(self, project: str, job_id: str) -> None:
        """Check that a project has had no job with this id.

        Raises:
            BigQueryError: `duplicate`.
        """
        if (project, job_id) in self._jobs:
            raise BigQueryError("duplicate", f"Already Exists: Job {project}:US.{job_id}")

    def adopt(self, resource: JobResource) -> None:
        """Add a job that has ended elsewhere: an upload, or a job of an earlier process."""
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
            raise not_found("Job", f"{project}:US.{job_id}")
        return job

    def of_project(self, project: str, states: Iterable[str]) -> list[Job]:
        """Return the jobs of a project in some states, the newest first."""
        wanted = set(states)
        jobs = [job for job in self._jobs.values() if job.project == project and job.state in wanted]
        return sorted(jobs, key=lambda job: job.created, reverse=True)

    def cancel(self, job: Job) -> None:
        """Cancel a job: its statement is stopped. A job that has ended does not change."""
        task = self._tasks.get((job.project, job.job_id))
        if task is not None:
            task.cancel()

    def remove(self, job: Job) -> None:
        """Remove a job that has ended."""
        self._jobs.pop((job.project, job.job_id), None)

    async def close(self) -> None:
        """Cancel all running jobs and wait for their clean-up."""
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
            job.error = BigQueryError("invalid", f"Internal error of the local BigQuery: {failure!r}")
        job.ended = _now_ms()
        job.started = job.started or job.ended
        job.state = "DONE"
        job.finished.set()


async def _run(job: Job, work: Work) -> JobResource:
    job.state = "RUNNING"
    job.started = _now_ms()
    return await work(job.report)


async def wait(job: Job, seconds: float) -> bool:
    """Wait for the end of a job, up to some seconds; return True if it has ended."""
    if not job.finished.is_set() and seconds > 0:
        with suppress(TimeoutError):
            await asyncio.wait_for(job.finished.wait(), seconds)
    return job.finished.is_set()
