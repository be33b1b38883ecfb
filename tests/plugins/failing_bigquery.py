"""A proxy in front of the local BigQuery that fails as BigQuery does."""

import urllib.error
import urllib.request
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.http_server import http_server


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


@dataclass
class FailingBigQuery:
    """The proxy to the BigQuery at an address. The next calls fail with `failures`."""

    target: str
    failures: deque = field(default_factory=deque)
    url: str = ""

    def answer(self, request):
        failure = self.failures.popleft() if self.failures else None
        if failure is None:
            return self.forward(request)
        if failure.is_late:
            self.forward(request)
        error = {"reason": failure.reason, "domain": "global", "message": "told to"}
        document = {"error": {"code": failure.status, "message": "told to", "errors": [error], "status": "X"}}
        return failure.status, document, {}

    def forward(self, request):
        kept = {name: value for name, value in request.headers.items() if name.lower() in ("content-type", "if-match")}
        url = f"http://{self.target}{request.path}"
        try:
            answer = urllib.request.urlopen(
                urllib.request.Request(url, request.body or None, kept, method=request.method)
            )
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read(), {"Content-Type": answer.headers["Content-Type"] or ""}


@contextmanager
def failing_bigquery(address):
    """A running proxy to the BigQuery at an address."""
    proxy = FailingBigQuery(address)
    with http_server(proxy.answer) as proxy.url:
        yield proxy
