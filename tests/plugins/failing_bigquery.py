"""A proxy in front of the local BigQuery that fails as BigQuery does."""

import json
import threading
import urllib.error
import urllib.request
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Failure:
    """An error of the REST API (https://cloud.google.com/bigquery/docs/error-messages).

    Attributes:
        status: the HTTP status.
        reason: the reason in the error document.
        is_late: the request is processed, but its answer is lost.
    """

    status: int
    reason: str
    is_late: bool = False


class FailingBigQuery(ThreadingHTTPServer):
    """The proxy. The next calls fail with `failures`."""

    daemon_threads = True

    def __init__(self, address):
        """Forward to the BigQuery at an address."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = f"http://{address}"
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.failures = deque()


@contextmanager
def failing_bigquery(address):
    """A running proxy to the BigQuery at an address."""
    with FailingBigQuery(address) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        failure = self.server.failures.popleft() if self.server.failures else None
        if failure is None or failure.is_late:
            answer = self.forward(body)
        if failure is not None:
            error = {"reason": failure.reason, "domain": "global", "message": "told to"}
            document = {"error": {"code": failure.status, "message": "told to", "errors": [error], "status": "X"}}
            answer = failure.status, "application/json", json.dumps(document).encode()
        status, content_type, content = answer
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET  # noqa: N815  http.server's names

    def forward(self, body):
        kept = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "if-match")}
        request = urllib.request.Request(self.server.target + self.path, body or None, kept, method=self.command)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.headers["Content-Type"] or "", answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.headers["Content-Type"] or "", error.read()

    def log_message(self, *_arguments):
        pass
