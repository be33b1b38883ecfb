"""The gateway: BigQuery's REST API for jobs and models. Any other request is forwarded to the emulator."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_bigquery.backend.emulator import Emulator, JobResource
from local_bigquery.errors import BigQueryError
from local_bigquery.ml.registry import ModelRegistry
from local_bigquery.rest.insert_all import insert_all
from local_bigquery.rest.messages import forward, json_body, json_object, page, returned
from local_bigquery.rest.models import model_routes
from local_bigquery.rest.uploads import Uploads
from local_bigquery.run.destination import Destination, run_into
from local_bigquery.run.jobs import Job, JobRegistry, QueryJob, Report, wait
from local_bigquery.run.query import QueryRunner
from local_bigquery.sql.references import referenced_tables

_PROJECT = "/bigquery/v2/projects/{project}"
# The documented timeout of jobs.query and jobs.getQueryResults.
# https://cloud.google.com/bigquery/docs/reference/rest/v2/jobs/query#QueryRequest
_DEFAULT_TIMEOUT_MS = 10_000
_MAX_TIMEOUT_MS = 200_000
_DEFAULT_JOBS_PAGE = 50
_NOT_FOUND = 404
_QUERY_REQUEST_ONLY = {
    "kind", "maxResults", "timeoutMs", "formatOptions", "requestId", "location", "dryRun", "labels",
    "jobCreationMode", "jobTimeoutMs",
}  # fmt: skip
_IN_QUERY_RESPONSE = (
    "schema", "statementType", "numDmlAffectedRows", "ddlOperationPerformed", "cacheHit", "totalBytesProcessed",
)  # fmt: skip
_NOTHING_PROCESSED = {"totalBytesProcessed": "0", "cacheHit": False}


def create_app(emulator: Emulator, jobs: JobRegistry, runner: QueryRunner, models: ModelRegistry) -> Starlette:
    """Return the ASGI application."""
    gateway = Gateway(emulator, jobs, runner)
    uploads = Uploads(emulator, jobs, runner.forget_tables)
    job = _PROJECT + "/jobs/{job}"
    insert = _PROJECT + "/datasets/{dataset}/tables/{table}/insertAll"
    return Starlette(
        routes=[
            Route(_PROJECT + "/jobs", gateway.insert_job, methods=["POST"]),
            Route(_PROJECT + "/jobs", gateway.list_jobs, methods=["GET"]),
            Route(job, gateway.get_job, methods=["GET"]),
            Route(job, gateway.delete_job, methods=["DELETE"]),
            Route(job + "/delete", gateway.delete_job, methods=["DELETE"]),
            Route(job + "/cancel", gateway.cancel_job, methods=["POST"]),
            Route(_PROJECT + "/queries", gateway.query, methods=["POST"]),
            Route(_PROJECT + "/queries/{job}", gateway.get_query_results, methods=["GET"]),
            Route(_PROJECT + "/datasets", gateway.list_datasets, methods=["GET"]),
            Route(_PROJECT + "/datasets/{dataset}", gateway.delete_dataset, methods=["DELETE"]),
            Route(insert, partial(insert_all, emulator), methods=["POST"]),
            *model_routes(_PROJECT, models),
            Route("/upload/bigquery/v2/projects/{project}/jobs", uploads.upload, methods=["POST", "PUT"]),
            Route("/{path:path}", gateway.forward, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]),
        ],
        exception_handlers={BigQueryError: _error_response},
    )


class Gateway:
    """The methods of the REST API, except those for models and uploads."""

    def __init__(self, emulator: Emulator, jobs: JobRegistry, runner: QueryRunner) -> None:
        self._emulator = emulator
        self._jobs = jobs
        self._runner = runner

    # jobs

    async def insert_job(self, request: Request) -> Response:
        """Handle jobs.insert: start a job and return it while it is pending."""
        body = await json_body(request)
        configuration = json_object(body, "configuration")
        json_object(configuration, "query")
        job_id = json_object(body, "jobReference").get("jobId") or f"job_{uuid.uuid4().hex}"
        job = QueryJob(request.path_params["project"], job_id, configuration)
        if configuration.get("dryRun"):
            return await self.forward(request) if "query" not in configuration else await self._dry_run_job(job)
        return JSONResponse(self._start(job).resource())

    async def get_job(self, request: Request) -> Response:
        """Handle jobs.get."""
        return JSONResponse(self._job(request).resource())

    async def list_jobs(self, request: Request) -> Response:
        """Handle jobs.list. There are no child jobs."""
        query = request.query_params
        states = [state.upper() for state in query.getlist("stateFilter")] or ["PENDING", "RUNNING", "DONE"]
        jobs = [] if "parentJobId" in query else self._jobs.of_project(request.path_params["project"], states)
        some, token = page(jobs, request, default_size=_DEFAULT_JOBS_PAGE)
        resources = [job.resource() for job in some]
        listed = [{**job, "state": job["status"]["state"]} for job in resources]
        return JSONResponse({"kind": "bigquery#jobList", "jobs": listed, **token})

    async def cancel_job(self, request: Request) -> Response:
        """Handle jobs.cancel: respond at once, like BigQuery, before the job ends."""
        job = self._job(request)
        self._jobs.cancel(job)
        return JSONResponse({"kind": "bigquery#jobCancelResponse", "job": job.resource()})

    async def delete_job(self, request: Request) -> Response:
        """Handle jobs.delete."""
        job = self._job(request)
        if not job.finished.is_set():
            raise BigQueryError("invalid", f"Job {job.project}:US.{job.job_id} is {job.state}: cancel it first")
        self._jobs.remove(job)
        return await self.forward(request)

    def _job(self, request: Request) -> Job:
        return self._jobs.get(request.path_params["project"], request.path_params["job"])

    def _start(self, job: QueryJob) -> Job:
        async def work(report: Report) -> JobResource:
            if "query" in job.configuration:
                return await self._run_query(replace(job, report=report))
            if "sourceModel" in job.configuration.get("extract", {}):
                raise BigQueryError("invalid", "Models cannot be exported from the local BigQuery ML")
            try:
                return await self._emulator.insert_job(job.project, job.job_id, job.configuration)
            finally:
                self._runner.forget_tables()

        return self._jobs.submit(job.project, job.job_id, job.configuration, work)

    async def _run_query(self, job: QueryJob) -> JobResource:
        destination = Destination.of(job)
        if destination is None:
            return await self._runner.run(job)
        return await run_into(destination, job, self._runner, self._emulator)

    async def _dry_run_job(self, job: QueryJob) -> Response:
        dry = Job(job.project, job.job_id, job.configuration, state="DONE")
        dry.statistics = {"totalBytesProcessed": "0", "query": await self._dry_run(job)}
        return JSONResponse(dry.resource())

    async def _dry_run(self, job: QueryJob) -> dict[str, Any]:
        tables = referenced_tables(job.sql, job.project, job.default_dataset)
        return {**await self._runner.dry_run(job), **_NOTHING_PROCESSED, "referencedTables": tables}

    # queries

    async def query(self, request: Request) -> Response:
        """Handle jobs.query: start a job, and return its first results if it ends in time."""
        body = await json_body(request)
        project, job_id = request.path_params["project"], f"job_{uuid.uuid4().hex}"
        query = {key: value for key, value in body.items() if key not in _QUERY_REQUEST_ONLY}
        configuration = {"query": query, **({"labels": body["labels"]} if "labels" in body else {})}
        query_job = QueryJob(project, job_id, configuration)
        if body.get("dryRun"):
            dry = await self._dry_run(query_job)
            reference = {"jobReference": {"projectId": project, "location": "US"}, "jobComplete": True}
            return JSONResponse({"kind": "bigquery#queryResponse", **reference, **_response_part(dry)})
        job = self._start(query_job)
        rows = {"maxResults": body["maxResults"]} if "maxResults" in body else {}
        results = await self._results(job, body.get("timeoutMs"), rows)
        return JSONResponse(
            {**_response_part(job.statistics.get("query", {})), **results, "kind": "bigquery#queryResponse"}
        )

    async def get_query_results(self, request: Request) -> Response:
        """Handle jobs.getQueryResults: wait for the job, then return its rows."""
        query = dict(request.query_params)
        return JSONResponse(await self._results(self._job(request), query.get("timeoutMs"), query))

    async def _results(self, job: Job, timeout_ms: str | int | None, rows: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of a job's results, or `jobComplete: False` if it has not ended in time.

        Args:
            job: the job.
            timeout_ms: the time to wait, in milliseconds; None for the default.
            rows: the query parameters that select the rows.

        Raises:
            BigQueryError: the job failed, or the timeout is not a number.
        """
        try:
            timeout = min(_DEFAULT_TIMEOUT_MS if timeout_ms is None else int(timeout_ms), _MAX_TIMEOUT_MS)
        except ValueError as error:
            raise BigQueryError("invalid", f"timeoutMs must be a number: {error}") from error
        if not await wait(job, timeout / 1000):
            return {
                "kind": "bigquery#getQueryResultsResponse",
                "jobReference": job.reference,
                "jobComplete": False,
            }
        if job.error is not None:
            raise job.error
        results = await self._emulator.call("GET", f"{job.project}/queries/{job.job_id}", params=dict(rows))
        return {**results, "jobReference": job.reference}

    # other methods

    async def list_datasets(self, request: Request) -> Response:
        """Handle datasets.list: exclude hidden datasets unless `all=true`."""
        project, query = request.path_params["project"], request.query_params
        answer = await self._emulator.call("GET", f"{project}/datasets", params=dict(query))
        if query.get("all", "").lower() != "true":
            datasets = answer.get("datasets", [])
            answer["datasets"] = [d for d in datasets if not d["datasetReference"]["datasetId"].startswith("_")]
        return JSONResponse(answer)

    async def delete_dataset(self, request: Request) -> Response:
        """Handle datasets.delete: the emulator answers `notFound` for a dataset that is not empty."""
        response = await forward(self._emulator, request, b"")
        self._runner.forget_tables()
        if response.status_code == _NOT_FOUND and "is not empty" in response.text:
            project, dataset = request.path_params["project"], request.path_params["dataset"]
            raise BigQueryError("resourceInUse", f"Dataset {project}:{dataset} is still in use")
        return returned(response)

    async def forward(self, request: Request) -> Response:
        """Forward a request to the emulator and return its response."""
        response = await forward(self._emulator, request, await request.body())
        if request.method not in ("GET", "HEAD"):
            self._runner.forget_tables()
        return returned(response)


def _response_part(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a job's `statistics.query` that the response of jobs.query contains."""
    return {name: statistics[name] for name in _IN_QUERY_RESPONSE if name in statistics}


async def _error_response(_request: Request, error: Exception) -> Response:
    if not isinstance(error, BigQueryError):
        raise error
    return JSONResponse(error.to_http_body(), error.http_status)
