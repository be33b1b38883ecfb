"""Load jobs whose file is uploaded: passed on, but for what the emulator makes of them that BigQuery does not.

https://cloud.google.com/bigquery/docs/reference/api-uploads
"""

import json
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local_bigquery.backend.emulator import Emulator
from local_bigquery.rest.messages import forward, passed_back
from local_bigquery.run.jobs import JobRegistry


class Uploads:
    """Uploads of files. The emulator gives their jobs ids of its own; here they get those that clients have chosen."""

    def __init__(self, emulator: Emulator, jobs: JobRegistry) -> None:
        self._emulator = emulator
        self._jobs = jobs
        self._job_ids: dict[str, str] = {}  # by upload_id, of uploads in several requests that are under way

    async def answer(self, request: Request) -> Response:
        """Pass on a part of an upload; keep the job whose resource the last part is answered with.

        Raises:
            BigQueryError: `duplicate`, if the job id has been used.
        """
        content = await request.body()
        project, upload_id = request.path_params["project"], request.query_params.get("upload_id", "")
        job_id = self._job_ids.get(upload_id)
        if request.method == "POST":
            job_id = _named_job_id(request, content)
            if job_id is not None:
                self._jobs.check_unused(project, job_id)
        if "multipart" in request.query_params.get("uploadType", ""):
            # The official client calls the file's type "*/*" in multipart uploads, which the emulator refuses.
            content = content.replace(b"content-type: */*", b"content-type: application/octet-stream", 1)
        response = await forward(self._emulator, request, content)
        if job_id is not None and "location" in response.headers:
            (upload_id,) = parse_qs(urlsplit(response.headers["location"]).query)["upload_id"]
            self._job_ids[upload_id] = job_id
        if not response.is_success or not response.headers.get("content-type", "").startswith("application/json"):
            return passed_back(response)
        resource = response.json()
        self._job_ids.pop(upload_id, None)
        if job_id is not None:
            resource |= {"id": f"{project}:{job_id}", "jobReference": {**resource["jobReference"], "jobId": job_id}}
        self._jobs.adopt(resource)
        return JSONResponse(resource)


def _named_job_id(request: Request, content: bytes) -> str | None:
    """Return the job id that an upload begins with, if it does: in the JSON, or in the first of several parts."""
    if "multipart" in request.query_params.get("uploadType", ""):
        content = content.partition(b"\r\n\r\n")[2].partition(b"\r\n--")[0]
    try:
        job_id: str | None = json.loads(content)["jobReference"]["jobId"]
    except (ValueError, KeyError, TypeError):
        return None
    return job_id
