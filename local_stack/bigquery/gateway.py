"""BigQuery's REST API: jobs and their results are answered here, everything else is passed on to the emulator."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Mapping
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local_stack.bigquery.emulator import Emulator
from local_stack.bigquery.errors import BigQueryError
from local_stack.bigquery.execution import QueryJob, QueryRunner
from local_stack.bigquery.jobs import Job, JobRegistry, JobResource, wait

_PROJECT = "/bigquery/v2/projects/{project}"
_DEFAULT_TIMEOUT_MS = 10_000  # of jobs.query and jobs.getQueryResults, as documented
_LONGEST_TIMEOUT_MS = 200_000
_DEFAULT_JOBS_PAGE = 50
_NOT_PASSED_ON = {"connection", "content-length", "keep-alive", "transfer-encoding"}
_NOT_PASSED_BACK = {*_NOT_PASSED_ON, "content-encoding"}  # httpx has decoded the content
_QUERY_REQUEST_ONLY = {
    "kind", "maxResults", "timeoutMs", "formatOptions", "requestId", "location", "dryRun", "labels",
    "jobCreationMode", "jobTimeoutMs",
}  # fmt: skip


def create_app(emulator: Emulator, jobs: JobRegistry, runner: QueryRunner) -> Starlette:
    """Return the ASGI application."""
    gateway = _Gateway(emulator, jobs, runner)
    job = _PROJECT + "/jobs/{job}"
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
            Route("/upload/bigquery/v2/projects/{project}/jobs", gateway.upload, methods=["POST", "PUT"]),
            Route("/{path:path}", gateway.pass_on, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]),
        ],
        exception_handlers={BigQueryError: _error_response},
    )


class _Gateway:
    def __init__(self, emulator: Emulator, jobs: JobRegistry, runner: QueryRunner) -> None:
        self._emulator = emulator
        self._jobs = jobs
        self._runner = runner

    # jobs

    async def insert_job(self, request: Request) -> Response:
        """Answer jobs.insert: the job is started, and answered while it is pending."""
        body = await _json_body(request)
        configuration = body.get("configuration", {})
        job_id = body.get("jobReference", {}).get("jobId") or f"job_{uuid.uuid4().hex}"
        if configuration.get("dryRun"):
            return await self._dry_run(request, QueryJob(request.path_params["project"], job_id, configuration))
        return JSONResponse(self._start(request.path_params["project"], job_id, configuration).resource())

    async def get_job(self, request: Request) -> Response:
        """Answer jobs.get."""
        return JSONResponse(self._job(request).resource())

    async def list_jobs(self, request: Request) -> Response:
        """Answer jobs.list. There are no child jobs."""
        query = request.query_params
        states = [state.upper() for state in query.getlist("stateFilter")] or ["PENDING", "RUNNING", "DONE"]
        jobs = [] if "parentJobId" in query else self._jobs.of_project(request.path_params["project"], states)
        start, size = int(query.get("pageToken", 0)), int(query.get("maxResults", _DEFAULT_JOBS_PAGE))
        resources = [job.resource() for job in jobs[start : start + size]]
        answer: dict[str, Any] = {
            "kind": "bigquery#jobList",
            "jobs": [{**job, "state": job["status"]["state"]} for job in resources],
        }
        if start + size < len(jobs):
            answer["nextPageToken"] = str(start + size)
        return JSONResponse(answer)

    async def cancel_job(self, request: Request) -> Response:
        """Answer jobs.cancel: at once, as BigQuery does; the job's end follows."""
        job = self._job(request)
        self._jobs.cancel(job)
        return JSONResponse({"kind": "bigquery#jobCancelResponse", "job": job.resource()})

    async def delete_job(self, request: Request) -> Response:
        """Answer jobs.delete."""
        job = self._job(request)
        if not job.finished.is_set():
            raise BigQueryError("invalid", f"Job {job.project}:US.{job.job_id} is {job.state}: cancel it first")
        self._jobs.forget(job)
        return await self.pass_on(request)

    def _job(self, request: Request) -> Job:
        return self._jobs.get(request.path_params["project"], request.path_params["job"])

    def _start(self, project: str, job_id: str, configuration: Mapping[str, Any]) -> Job:
        async def work() -> JobResource:
            if "query" in configuration:
                return await self._runner.run(QueryJob(project, job_id, configuration))
            return await self._emulator.insert_job(project, job_id, configuration)

        return self._jobs.submit(project, job_id, configuration, work)

    async def _dry_run(self, request: Request, job: QueryJob) -> Response:
        """Answer a dry run: BigQuery ML is only parsed, the emulator examines anything else."""
        if "query" not in job.configuration or job.statements() is None:
            return await self.pass_on(request)
        dry = Job(job.project, job.job_id, job.configuration, state="DONE")
        dry.statistics = {"totalBytesProcessed": "0", "query": {"totalBytesProcessed": "0", "cacheHit": False}}
        return JSONResponse(dry.resource())

    # queries

    async def query(self, request: Request) -> Response:
        """Answer jobs.query: start a job, and answer its first results if it ends in time."""
        body = await _json_body(request)
        project, job_id = request.path_params["project"], f"job_{uuid.uuid4().hex}"
        query = {key: value for key, value in body.items() if key not in _QUERY_REQUEST_ONLY}
        configuration = {"query": query, **({"labels": body["labels"]} if "labels" in body else {})}
        if body.get("dryRun"):
            return await self._dry_run(request, QueryJob(project, job_id, {**configuration, "dryRun": True}))
        job = self._start(project, job_id, configuration)
        rows = {"maxResults": body["maxResults"]} if "maxResults" in body else {}
        results = await self._results(job, body.get("timeoutMs"), rows)
        statistics = job.statistics.get("query", {})
        for name in ("statementType", "numDmlAffectedRows", "ddlOperationPerformed", "cacheHit"):
            if name in statistics:
                results[name] = statistics[name]
        return JSONResponse({**results, "kind": "bigquery#queryResponse"})

    async def get_query_results(self, request: Request) -> Response:
        """Answer jobs.getQueryResults: wait for the job, then pass on its rows."""
        query = dict(request.query_params)
        return JSONResponse(await self._results(self._job(request), query.get("timeoutMs"), query))

    async def _results(self, job: Job, timeout_ms: str | int | None, rows: Mapping[str, Any]) -> dict[str, Any]:
        """Return a page of a job's results, or that it has not ended.

        Raises:
            BigQueryError: If the job has failed.
        """
        longest = min(_DEFAULT_TIMEOUT_MS if timeout_ms is None else int(timeout_ms), _LONGEST_TIMEOUT_MS)
        if not await wait(job, longest / 1000):
            return {
                "kind": "bigquery#getQueryResultsResponse",
                "jobReference": job.reference,
                "jobComplete": False,
            }
        if job.error is not None:
            raise job.error
        results = await self._emulator.call("GET", f"{job.project}/queries/{job.job_id}", params=dict(rows))
        return {**results, "jobReference": job.reference}

    # the rest

    async def list_datasets(self, request: Request) -> Response:
        """Answer datasets.list without hidden datasets, unless they are asked for."""
        project, query = request.path_params["project"], request.query_params
        answer = await self._emulator.call("GET", f"{project}/datasets", params=dict(query))
        if query.get("all", "").lower() != "true":
            datasets = answer.get("datasets", [])
            answer["datasets"] = [d for d in datasets if not d["datasetReference"]["datasetId"].startswith("_")]
        return JSONResponse(answer)

    async def upload(self, request: Request) -> Response:
        """Pass on the upload of a file, and keep the job resource that the last part is answered with."""
        content = await request.body()
        if "multipart" in request.query_params.get("uploadType", ""):
            # The official client calls the file's type "*/*" in multipart uploads, which the emulator refuses.
            content = content.replace(b"content-type: */*", b"content-type: application/octet-stream", 1)
        response = await self._forward(request, content)
        if response.is_success and response.headers.get("content-type", "").startswith("application/json"):
            self._jobs.adopt(response.json())
        return _passed_back(response)

    async def pass_on(self, request: Request) -> Response:
        """Pass a request on and the answer back."""
        return _passed_back(await self._forward(request, await request.body()))

    async def _forward(self, request: Request, content: bytes) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name not in _NOT_PASSED_ON}
        return await self._emulator.request(
            request.method,
            request.url.path,
            params=list(request.query_params.multi_items()),
            headers=headers,
            content=content,
        )


def _passed_back(response: httpx.Response) -> Response:
    headers = {name: value for name, value in response.headers.items() if name not in _NOT_PASSED_BACK}
    return Response(response.content, response.status_code, headers)


async def _json_body(request: Request) -> dict[str, Any]:
    content = await request.body()
    if request.headers.get("content-encoding") == "gzip":
        content = gzip.decompress(content)
    try:
        body = json.loads(content)
    except ValueError as error:
        raise BigQueryError("parseError", f"The request body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BigQueryError("parseError", f"The request body must be a JSON object, not {type(body).__name__}")
    return body


async def _error_response(_request: Request, error: Exception) -> Response:
    if not isinstance(error, BigQueryError):
        raise error
    return JSONResponse(error.to_http_body(), error.http_status)
