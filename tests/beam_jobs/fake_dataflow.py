"""A stand-in for Dataflow and Cloud Storage: an HTTP server with the methods that submit and watch a job.

It fails as it is told to, keeps jobs as they were sent, and runs none: a job stays in the state that a test gives it.
"""

import base64
import itertools
import json
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from tests.http_server import http_server
from tests.service_account import service_account_key

JOBS = "/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs"
NOT_FOUND = 404, {"error": {"code": 404, "message": "Not Found"}}, {}


class FakeGoogle:
    """The jobs and the objects that clients made. To clients that take it for a proxy, it refuses all requests."""

    def __init__(self, key_file):
        self.key_file = key_file
        self.url = ""
        self.jobs = {}
        self.objects = {}  # content by gs:// URL
        self.metrics = []
        self.messages = []
        self.failures = deque()  # (HTTP status, gRPC status) of the next calls of Dataflow
        self.tokens = 0
        self._uploads = {}
        self._numbers = itertools.count(1)

    def client_environment(self):
        """The environment variables by which Google's clients find this server."""
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.key_file),
            "STORAGE_EMULATOR_HOST": self.url,
            "HTTPS_PROXY": self.url,
            "NO_PROXY": "localhost,127.0.0.1",
        }

    def answer(self, request):
        if request.method == "CONNECT":
            return 403, {}, {}  # nothing goes to Google
        path = urlsplit(request.path).path
        if path.startswith("/v1b3/") and self.failures:
            status, name = self.failures.popleft()
            return status, {"error": {"code": status, "message": "told to", "status": name}}, {}
        for method, pattern, function in _ROUTES:
            if method == request.method and (match := re.fullmatch(pattern, path)):
                return function(self, request, **{name: unquote(value) for name, value in match.groupdict().items()})
        return 400, {"error": {"code": 400, "message": f"not faked: {request.method} {request.path}"}}, {}

    def token(self, _):
        self.tokens += 1
        return {"access_token": "an-access-token", "expires_in": 3600, "token_type": "Bearer"}

    def create_job(self, request, project, region):
        job = json.loads(request.body, parse_float=_number)
        job |= {"id": f"2026-01-01_00_00_00-{next(self._numbers)}", "projectId": project, "location": region}
        job["currentState"] = "JOB_STATE_PENDING"
        self.jobs[job["id"]] = job
        return job

    def list_jobs(self, _, **_names):
        return {"jobs": list(self.jobs.values())}

    def get_job(self, _, job, **_names):
        return self.jobs.get(job, NOT_FOUND)

    def update_job(self, request, job, **_names):
        self.jobs[job] |= json.loads(request.body)
        return self.jobs[job]

    def get_metrics(self, _, **_names):
        return {"metrics": self.metrics}

    def list_messages(self, _, **_names):
        return {"jobMessages": self.messages}

    def get_bucket(self, _, bucket):
        return {"kind": "storage#bucket", "name": bucket, "location": "US-CENTRAL1"}

    def get_object(self, _, bucket, name):
        if (content := self.objects.get(f"gs://{bucket}/{name}")) is None:
            return NOT_FOUND
        return {"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(content))}

    def begin_upload(self, request, bucket):
        (name,) = parse_qs(urlsplit(request.path).query).get("name") or [json.loads(request.body)["name"]]
        upload = str(next(self._numbers))
        self._uploads[upload] = f"gs://{bucket}/{name}"
        return 200, {}, {"Location": f"{self.url}/uploads/{upload}"}

    def upload(self, request, upload):
        self.objects[self._uploads[upload]] = request.body
        checksum = base64.b64encode(google_crc32c.Checksum(request.body).digest()).decode()
        return {"kind": "storage#object", "size": str(len(request.body)), "crc32c": checksum}


@contextmanager
def running(folder: Path) -> Iterator[FakeGoogle]:
    """A running server. It writes a service account's key to a folder."""
    google = FakeGoogle(folder / "key.json")
    with http_server(google.answer, "localhost") as google.url:
        google.key_file.write_text(json.dumps(service_account_key(f"{google.url}/token")))
        yield google


_ROUTES = [
    ("POST", "/token", FakeGoogle.token),
    ("POST", JOBS, FakeGoogle.create_job),
    ("GET", JOBS, FakeGoogle.list_jobs),
    ("GET", f"{JOBS}/(?P<job>[^/]+)", FakeGoogle.get_job),
    ("PUT", f"{JOBS}/(?P<job>[^/]+)", FakeGoogle.update_job),
    ("GET", f"{JOBS}/[^/]+/metrics", FakeGoogle.get_metrics),
    ("GET", f"{JOBS}/[^/]+/messages", FakeGoogle.list_messages),
    ("GET", "/storage/v1/b/(?P<bucket>[^/]+)", FakeGoogle.get_bucket),
    ("GET", "/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)", FakeGoogle.get_object),
    ("POST", "/upload/storage/v1/b/(?P<bucket>[^/]+)/o", FakeGoogle.begin_upload),
    ("PUT", "/uploads/(?P<upload>[^/]+)", FakeGoogle.upload),
]


def _number(text):
    """A number as Dataflow gives it to workers: 1 instead of 1.0."""
    value = float(text)
    return int(value) if value.is_integer() else value
