"""Uploads: load jobs whose file is part of the request.

They are forwarded to the emulator, with corrections where it differs from BigQuery.

https://cloud.google.com/bigquery/docs/reference/api-uploads
"""

import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local_bigquery.backend.emulator import Emulator
from local_bigquery.rest.messages import forward, returned
from local_bigquery.run.jobs import JobRegistry


class Uploads:
    """The upload methods. The emulator chooses the ids of their jobs; here they keep the ids that clients choose.

    Args:
        emulator: receives the files.
        jobs: the jobs, to which those of uploads are added.
        forget_tables: called after each upload, which may have changed a table.
    """

    def __init__(self, emulator: Emulator, jobs: JobRegistry, forget_tables: Callable[[], None]) -> None:
        self._emulator = emulator
        self._jobs = jobs
        self._forget_tables = forget_tables
        # The job ids, by upload_id, of unfinished uploads that consist of several requests.
        self._job_ids: dict[str, str] = {}

    async def upload(self, request: Request) -> Response:
        """Forward a part of an upload; the response to the last part has the resource of the job.

        Raises:
            BigQueryError: `duplicate` if the job id is in use.
        """
        content = await request.body()
        project, upload_id = request.path_params["project"], request.query_params.get("upload_id", "")
        job_id = self._job_ids.get(upload_id)
        if request.method == "POST":
            job_id = _chosen_job_id(request, content)
            if job_id is not None:
                self._jobs.check_unused(project, job_id)
        if "multipart" in request.query_params.get("uploadType", ""):
            # The official client sends the content type "*/*" in multipart uploads, which the emulator refuses.
            content = content.replace(b"content-type: */*", b"content-type: application/octet-stream", 1)
        response = await forward(self._emulator, request, content)
        self._forget_tables()
        if job_id is not None and "location" in response.headers:
            (upload_id,) = parse_qs(urlsplit(response.headers["location"]).query)["upload_id"]
            self._job_ids[upload_id] = job_id
        if not response.is_success or not response.headers.get("content-type", "").startswith("application/json"):
            return returned(response)
        resource = response.json()
        self._job_ids.pop(upload_id, None)
        if job_id is not None:
            resource |= {"id": f"{project}:{job_id}", "jobReference": {**resource["jobReference"], "jobId": job_id}}
        self._jobs.adopt(resource)
        return JSONResponse(resource)


def _chosen_job_id(request: Request, content: bytes) -> str | None:
    """Return the job id in the JSON of an upload, or in the first of several parts; None if there is none."""
    if "multipart" in request.query_params.get("uploadType", ""):
        content = content.partition(b"\r\n\r\n")[2].partition(b"\r\n--")[0]
    try:
        job_id: str | None = json.loads(content)["jobReference"]["jobId"]
    except (ValueError, KeyError, TypeError):
        return None
    return job_id
