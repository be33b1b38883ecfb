"""Authentication of tasks: an Airflow on a machine with a metadata server, and a service that checks requests."""

import base64
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from google.auth.exceptions import RefreshError

from foreserve.api_auth import ApiAuth
from tests.http_server import http_server

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
AUDIENCE = "https://foreserve-api-abc.a.run.app"


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

    def answer(self, request):
        google = {"Metadata-Flavor": "Google", "Content-Type": "text/html"}
        if request.headers["Metadata-Flavor"] != "Google":
            return 403, b"", google
        if "/identity" in request.path:
            self.asked.append(request.path)
            expiry = int(time.time() + self.lifetime)
            claims = {"aud": AUDIENCE, "exp": expiry, "iat": int(time.time()), "jti": len(self.made)}
            parts = ({"alg": "RS256"}, claims)
            encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
            self.made.append(".".join([*encoded, "c2lnbmF0dXJl"]))
            return 200, self.made[-1].encode(), google
        if "service-accounts/default" in request.path:
            account = {"email": "airflow@demo.iam.gserviceaccount.com", "scopes": [], "aliases": ["default"]}
            return 200, account, {**google, "Content-Type": "application/json"}
        return 200, b"demo", google


@dataclass
class Service:
    """The service, which refuses requests without credentials. `shown` has the credentials of each request."""

    shown: list = field(default_factory=list)

    def answer(self, request):
        self.shown.append({name: value for name, value in request.headers.items() if "uthorization" in name})
        return (200 if self.shown[-1] else 403), {}, {}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """An Airflow that sends requests when it gets a connection; the process, its log, and the two servers."""
    folder = tmp_path_factory.mktemp("airflow")
    metadata, service = Metadata(), Service()
    unset = ("GOOGLE_APPLICATION_CREDENTIALS", "NO_GCE_CHECK")
    with http_server(metadata.answer) as google, http_server(service.answer) as api:
        metadata_server = urlsplit(google).netloc
        environment = {name: value for name, value in os.environ.items() if name not in unset} | {
            "AIRFLOW_HOME": str(folder),
            "GCE_METADATA_HOST": metadata_server,
            "GCE_METADATA_IP": metadata_server,
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

    def send(lifetime=3600, **connection):
        metadata.lifetime, metadata.made, metadata.asked, service.shown = lifetime, [], [], []
        to_api = {"conn_type": "http", "host": urlsplit(api).hostname, "port": urlsplit(api).port, "schema": "http"}
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


def test_without_a_token_the_service_cannot_be_reached(monkeypatch):
    class Credentials:
        valid = False

        def refresh(self, _):
            raise RefreshError("the metadata server does not answer")

    monkeypatch.setattr("foreserve.api_auth._credentials", lambda _: Credentials())
    transport = httpx.MockTransport(lambda _: httpx.Response(200))
    with (
        httpx.Client(auth=ApiAuth(None, AUDIENCE), transport=transport) as client,
        pytest.raises(httpx.ConnectError, match="no identity token: the metadata server does not answer"),
    ):
        client.get("http://service")


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
