"""A stand-in for Dataflow and Cloud Storage: an HTTP server with the methods that submit and watch a job.

It fails as it is told to, keeps jobs as they were sent, and runs none: a job stays in the state that a test gives it.
"""

import base64
import itertools
import json
import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

JOBS = "/v1b3/projects/(?P<project>[^/]+)/locations/(?P<region>[^/]+)/jobs"


class FakeGoogle(ThreadingHTTPServer):
    """The server, and the requests that it received. It is also a proxy that refuses all requests."""

    daemon_threads = True

    def __init__(self, folder):
        """Listen on a free port of this machine; write a service account's key to `folder`."""
        super().__init__(("localhost", 0), _Handler)
        self.url = f"http://localhost:{self.server_port}"
        self.jobs = {}
        self.objects = {}  # content by gs:// URL
        self.metrics = []
        self.messages = []
        self.failures = deque()  # (HTTP status, gRPC status) of the next calls of Dataflow
        self.tokens = 0
        self.uploads = {}
        self.numbers = itertools.count(1)
        self.key_file = _service_account_key(folder / "key.json", f"{self.url}/token")

    def client_environment(self):
        """The environment variables by which Google's clients find this server."""
        return {
            "GOOGLE_APPLICATION_CREDENTIALS": str(self.key_file),
            "STORAGE_EMULATOR_HOST": self.url,
            "HTTPS_PROXY": self.url,
            "NO_PROXY": "localhost,127.0.0.1",
        }


@contextmanager
def running(folder: Path) -> Iterator[FakeGoogle]:
    """A running server."""
    with FakeGoogle(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeGoogle

    def do_CONNECT(self):
        self.reply({}, 403)  # nothing goes to Google

    def do_GET(self):
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if url.path.startswith("/v1b3/") and self.server.failures:
            status, name = self.server.failures.popleft()
            self.reply({"error": {"code": status, "message": "told to", "status": name}}, status)
            return
        for method, path, function in _ROUTES:
            if method == self.command and (match := re.fullmatch(path, url.path)):
                function(self, **{name: unquote(value) for name, value in match.groupdict().items()})
                return
        self.reply({"error": {"code": 400, "message": f"not faked: {self.command} {self.path}"}}, 400)

    do_POST = do_PUT = do_GET  # noqa: N815  http.server's names

    def reply(self, document, status=200, **headers):
        content = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(content), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(content)

    def not_found(self):
        self.reply({"error": {"code": 404, "message": "Not Found"}}, 404)

    def log_message(self, *_arguments):
        pass

    def token(self):
        self.server.tokens += 1
        self.reply({"access_token": "an-access-token", "expires_in": 3600, "token_type": "Bearer"})

    def create_job(self, project, region):
        job = json.loads(self.body, parse_float=_number)
        number = next(self.server.numbers)
        job |= {"id": f"2026-01-01_00_00_00-{number}", "projectId": project, "location": region}
        job["currentState"] = "JOB_STATE_PENDING"
        self.server.jobs[job["id"]] = job
        self.reply(job)

    def list_jobs(self, **_names):
        self.reply({"jobs": list(self.server.jobs.values())})

    def get_job(self, job, **_names):
        self.reply(self.server.jobs[job]) if job in self.server.jobs else self.not_found()

    def update_job(self, job, **_names):
        self.server.jobs[job] |= json.loads(self.body)
        self.reply(self.server.jobs[job])

    def get_metrics(self, **_names):
        self.reply({"metrics": self.server.metrics})

    def list_messages(self, **_names):
        self.reply({"jobMessages": self.server.messages})

    def get_bucket(self, bucket):
        self.reply({"kind": "storage#bucket", "name": bucket, "location": "US-CENTRAL1"})

    def get_object(self, bucket, name):
        if (content := self.server.objects.get(f"gs://{bucket}/{name}")) is None:
            self.not_found()
        else:
            self.reply({"kind": "storage#object", "bucket": bucket, "name": name, "size": str(len(content))})

    def begin_upload(self, bucket):
        name = self.query.get("name") or json.loads(self.body)["name"]
        upload = str(next(self.server.numbers))
        self.server.uploads[upload] = f"gs://{bucket}/{name}"
        self.reply({}, Location=f"{self.server.url}/uploads/{upload}")

    def upload(self, upload):
        self.server.objects[self.server.uploads[upload]] = self.body
        checksum = base64.b64encode(google_crc32c.Checksum(self.body).digest()).decode()
        self.reply({"kind": "storage#object", "size": str(len(self.body)), "crc32c": checksum})


_ROUTES = [
    ("POST", "/token", _Handler.token),
    ("POST", JOBS, _Handler.create_job),
    ("GET", JOBS, _Handler.list_jobs),
    ("GET", f"{JOBS}/(?P<job>[^/]+)", _Handler.get_job),
    ("PUT", f"{JOBS}/(?P<job>[^/]+)", _Handler.update_job),
    ("GET", f"{JOBS}/[^/]+/metrics", _Handler.get_metrics),
    ("GET", f"{JOBS}/[^/]+/messages", _Handler.list_messages),
    ("GET", "/storage/v1/b/(?P<bucket>[^/]+)", _Handler.get_bucket),
    ("GET", "/storage/v1/b/(?P<bucket>[^/]+)/o/(?P<name>[^/]+)", _Handler.get_object),
    ("POST", "/upload/storage/v1/b/(?P<bucket>[^/]+)/o", _Handler.begin_upload),
    ("PUT", "/uploads/(?P<upload>[^/]+)", _Handler.upload),
]


def _number(text):
    """A number as Dataflow gives it to workers: 1 instead of 1.0."""
    value = float(text)
    return int(value) if value.is_integer() else value


def _service_account_key(key_file, token_uri):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    document = {
        "type": "service_account",
        "project_id": "demo-project",
        "private_key_id": "made-up",
        "private_key": pem.decode(),
        "client_email": "launcher@demo-project.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    key_file.write_text(json.dumps(document))
    return key_file
