"""Authentication of tasks: an Airflow on a machine with a metadata server, and a service that checks requests."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
AUDIENCE = "https://foreserve-api-abc.a.run.app"


@contextmanager
def server(answer):
    """An HTTP server. `answer` maps path and headers of a request to status, headers and body."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = answer(self.path, self.headers)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()


@dataclass
class Metadata:
    """The machine's metadata server.

    Attributes:
        lifetime: the lifetime of its tokens, in seconds.
        made: the tokens that it made.
        asked: the paths of the requests for tokens.
    """

    lifetime: float = 3600
    made: list = field(default_factory=list)
    asked: list = field(default_factory=list)

    def answer(self, path, headers):
        google = {"Metadata-Flavor": "Google", "Content-Type": "text/html"}
        if headers["Metadata-Flavor"] != "Google":
            return 403, google, ""
        if "/identity" in path:
            self.asked.append(path)
            expiry = int(time.time() + self.lifetime)
            claims = {"aud": AUDIENCE, "exp": expiry, "iat": int(time.time()), "jti": len(self.made)}
            parts = ({"alg": "RS256"}, claims)
            encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
            self.made.append(".".join([*encoded, "c2lnbmF0dXJl"]))
            return 200, google, self.made[-1]
        if "service-accounts/default" in path:
            account = {"email": "airflow@demo.iam.gserviceaccount.com", "scopes": [], "aliases": ["default"]}
            return 200, {**google, "Content-Type": "application/json"}, json.dumps(account)
        return 200, google, "demo"


@dataclass
class Service:
    """The service, which refuses requests without credentials. `shown` has the credentials of each request."""

    shown: list = field(default_factory=list)

    def answer(self, _, headers):
        self.shown.append({name: value for name, value in headers.items() if "uthorization" in name})
        return (200 if self.shown[-1] else 403), {}, "{}"


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """An Airflow that sends requests when it gets a connection; the process, its log, and the two servers."""
    folder = tmp_path_factory.mktemp("airflow")
    metadata, service = Metadata(), Service()
    unset = ("GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK")
    with server(metadata.answer) as google, server(service.answer) as api:
        environment = {name: value for name, value in os.environ.items() if name not in unset} | {
            "AIRFLOW_HOME": str(folder),
            "GCE_METADATA_HOST": google,
            "GCE_METADATA_IP": google,
            "CLOUDSDK_CONFIG": str(folder),  # no user is logged in
            "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in ("", "plugins")),
        }
        log = folder / "log"
        with (
            log.open("w") as written,
            subprocess.Popen(
                [sys.executable, Path(__file__).with_name("ask_service.py")],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=written,
                text=True,
            ) as process,
        ):
            yield process, log, metadata, service, api
            process.stdin.close()
            assert process.wait(60) == 0, log.read_text()[-3_000:]


@pytest.fixture
def ask(tasks):
    """Sends requests to a service; returns the status codes, the metadata server, and the headers that were sent."""
    process, log, metadata, service, api = tasks
    host, port = api.split(":")

    def send(lifetime=3600, **connection):
        metadata.lifetime, metadata.made, metadata.asked, service.shown = lifetime, [], [], []
        to_api = {"conn_type": "http", "host": host, "port": int(port), "schema": "http"}
        process.stdin.write(f"{json.dumps(to_api | connection)}\n")
        process.stdin.flush()
        said = []
        while not (said and said[-1].startswith("[")):
            said.append(process.stdout.readline())
            assert said[-1], log.read_text()[-3_000:]
        for token in metadata.made:
            assert token not in "".join(said) + log.read_text()
        return json.loads(said[-1]), metadata, service.shown

    return send


def test_an_identity_token_for_the_audience_is_made_once_and_sent_with_each_request(ask):
    codes, metadata, shown = ask(extra={"id_token_audience": AUDIENCE})
    assert codes == [200] * 7
    assert len(metadata.made) == 2  # one for each of the two clients
    assert all(f"audience={AUDIENCE}" in path.replace("%3A", ":").replace("%2F", "/") for path in metadata.asked)
    assert (
        shown
        == [{"Authorization": f"Bearer {metadata.made[0]}"}] * 2 + [{"Authorization": f"Bearer {metadata.made[1]}"}] * 5
    )


def test_a_token_that_is_about_to_run_out_is_replaced(ask):
    codes, metadata, shown = ask(lifetime=60, extra={"id_token_audience": AUDIENCE})
    assert codes == [200] * 7
    assert shown[0] == {"Authorization": f"Bearer {metadata.made[0]}"}
    assert shown[1] == {"Authorization": f"Bearer {metadata.made[1]}"}


def test_a_key_goes_beside_the_token(ask):
    _, metadata, shown = ask(password="a-key", extra={"id_token_audience": AUDIENCE})
    token = f"Bearer {metadata.made[0]}"
    assert shown[0] == {"Authorization": "Bearer a-key", "X-Serverless-Authorization": token}


def test_without_an_audience_nobody_is_asked_for_a_token(ask):
    codes, metadata, shown = ask(password="a-key")
    assert (codes, metadata.asked) == ([200] * 7, [])
    assert shown == [{"Authorization": "Bearer a-key"}] * 7
    codes, _, shown = ask()
    assert (codes, shown) == ([403] * 7, [{}] * 7)
