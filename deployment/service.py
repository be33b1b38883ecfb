"""The lookup service on Cloud Run: its revisions, and their share of the traffic."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from deployment.shell import DeploymentError, Shell, say

TAG = "next"
"""The tag of the newest revision, which gives the revision an address of its own before it has traffic."""

LOOKUPS = 50
"""Lookups of each model that a new revision answers before it gets traffic. They open its connections."""

MOST_ERRORS, SLOWEST_MS, FEWEST = 0.01, 100, 20
"""Largest share of server errors; 99th percentile that is always good enough (the objective); requests to judge by."""

_POLL_SECONDS = 30
_MONITORING = os.environ.get("CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING", "https://monitoring.googleapis.com/")


@dataclass(frozen=True)
class Revisions:
    """The newest revision, its image, its own address, and the percentages of requests by revision."""

    newest: str
    image: str = ""
    ready: bool = False
    address: str = "https://ADDRESS_OF_NEW"
    traffic: Mapping[str, int] = field(default_factory=dict)

    @property
    def main(self) -> str:
        """The revision with most requests."""
        return max(self.traffic, key=lambda revision: self.traffic[revision], default="")


class Service:
    """The lookup service.

    Args:
        shell: runs gcloud.
        project: the project.
        api: the output `api` of Terraform.
    """

    def __init__(self, shell: Shell, project: str, api: dict[str, str]) -> None:
        self._shell = shell
        self._project = project
        self._name = api["service"]
        self._url = api["url"]
        self._place = (f"--region={api['location']}", f"--project={project}")

    def revisions(self) -> Revisions:
        """Return the current revisions."""
        described = self._shell.read(*self._words("describe"), "--format=json", offline="")
        return _parse(json.loads(described)) if described else Revisions("CURRENT", traffic={"CURRENT": 100})

    def start(self, image: str) -> Revisions:
        """Start a revision without traffic, wait until it is ready, and return the revisions.

        A revision is ready when an instance has answered the startup probe, a request to /readyz: the instance has read
        the registry. gcloud may fail although the revision is ready, for example without the right to wait. The tag is
        set afterwards: with the image, gcloud would name the revision, and Terraform would send the name again.
        """
        words = ("gcloud", "run", "deploy", self._name, f"--image={image}", "--no-traffic", *self._place, "--quiet")
        failure = self._attempt(*words)
        newest = self.revisions() if self._shell.applies else Revisions("NEW", image, ready=True)
        if failure and not (newest.image == image and newest.ready):
            raise failure
        failure = self._attempt(*self._words("update-traffic"), f"--update-tags={TAG}={newest.newest}")
        if not self._shell.applies:
            return newest
        tagged = self.revisions()
        if failure and not tagged.address:
            raise failure
        return tagged

    def move(self, split: dict[str, int]) -> None:
        """Divide the requests among revisions. If gcloud fails, look whether they are divided so."""
        split = {revision: percent for revision, percent in split.items() if percent}
        parts = ",".join(f"{revision}={percent}" for revision, percent in split.items())
        failure = self._attempt(*self._words("update-traffic"), f"--to-revisions={parts}")
        if failure and self.revisions().traffic != split:
            raise failure

    def test(self, address: str) -> None:
        """Send lookups to a revision, which also warms it.

        Raises:
            DeploymentError: an answer is a server error, or /v1/models is refused.
        """
        say(f"  {LOOKUPS} lookups of each model at {address}")
        if not self._shell.applies:
            return
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {self._token()}"}, timeout=10) as client:
            models = _answer(client, "/v1/models")
            if models.status_code in (401, 403) and "problem+json" in models.headers.get("content-type", ""):
                say("  the service answers, and admits only its callers; no lookups were sent")
                return
            if models.status_code != httpx.codes.OK:
                raise DeploymentError(f"{address}/v1/models: {models.status_code} {models.text[:500]}")
            slowest = 0.0
            for name in [model["model"] for model in models.json()["models"]]:
                for number in range(LOOKUPS):
                    answer = _answer(client, f"/v1/models/{name}/predictions/deployment-test-{number}")
                    if answer.is_server_error:
                        raise DeploymentError(f"{answer.url}: {answer.status_code} {answer.text[:500]}")
                    slowest = max(slowest, answer.elapsed.total_seconds())
        say(f"  answered; the slowest took {1000 * slowest:.0f} ms")

    def watch(self, new: str, old: str, seconds: float) -> None:
        """Compare errors and latency of a revision with another's for some time. Metrics are up to 4 minutes late.

        Raises:
            DeploymentError: the new revision fails more often than `MOST_ERRORS`, or its 99th percentile is above
                `SLOWEST_MS` and twice the other's.
        """
        say(f"  watch errors and latency of {new} for {seconds:.0f} s")
        end = time.monotonic() + seconds
        while self._shell.applies and seconds:
            self._judge(new, old)
            if time.monotonic() >= end:
                return
            time.sleep(min(_POLL_SECONDS, seconds))

    def _judge(self, new: str, old: str) -> None:
        where = f'monitored_resource="cloud_run_revision",service_name="{self._name}"'
        count = "sum by (revision_name) (increase(run_googleapis_com:request_count{%s}[5m]))"
        requests = self._query(count % where).get(new, 0)
        if requests < FEWEST:
            return
        failed = self._query(count % f'{where},response_code_class="5xx"').get(new, 0)
        buckets = f"sum by (revision_name, le) (increase(run_googleapis_com:request_latencies_bucket{{{where}}}[5m]))"
        latency = self._query(f"histogram_quantile(0.99, {buckets})")
        say(f"  {requests:.0f} requests, {failed:.0f} failed, 99th percentile {latency.get(new, 0):.0f} ms")
        if failed > MOST_ERRORS * requests:
            raise DeploymentError(f"{failed:.0f} of {requests:.0f} requests to {new} failed")
        if latency.get(new, 0) > max(SLOWEST_MS, 2 * latency.get(old, 0)):
            raise DeploymentError(
                f"the 99th percentile of {new} is {latency[new]:.0f} ms, and that of {old} {latency.get(old, 0):.0f} ms"
            )

    def _query(self, query: str) -> dict[str, float]:
        """Return the value of a PromQL query by revision."""
        token = self._shell.output("gcloud", "auth", "print-access-token", text=True).strip()
        path = f"v1/projects/{self._project}/location/global/prometheus/api/v1/query"
        try:
            answer = httpx.post(
                f"{_MONITORING}{path}", json={"query": query}, headers={"Authorization": f"Bearer {token}"}
            ).raise_for_status()
        except httpx.HTTPError as error:
            raise DeploymentError(f"errors and latency cannot be read: {error}") from error
        return {
            series["metric"]["revision_name"]: float(series["value"][1]) for series in answer.json()["data"]["result"]
        }

    def _token(self) -> str:
        """Return an identity token. Only service accounts may, and must, name the audience."""
        words = ("gcloud", "auth", "print-identity-token")
        try:
            return str(self._shell.output(*words, f"--audiences={self._url}", text=True)).strip()
        except DeploymentError:
            return str(self._shell.output(*words, text=True)).strip()

    def _attempt(self, *words: str) -> DeploymentError | None:
        try:
            self._shell.change(*words)
        except DeploymentError as error:
            return error
        return None

    def _words(self, verb: str) -> tuple[str, ...]:
        return ("gcloud", "run", "services", verb, self._name, *self._place)


def _answer(client: httpx.Client, path: str) -> httpx.Response:
    try:
        return client.get(path)
    except httpx.HTTPError as error:
        raise DeploymentError(f"{client.base_url}{path}: {error}") from error


def _parse(service: dict[str, Any]) -> Revisions:
    """Read a service as `gcloud run services describe` prints it."""
    traffic: dict[str, int] = {}
    targets = service["status"].get("traffic", [])
    for target in targets:
        if percent := target.get("percent"):
            traffic[target["revisionName"]] = traffic.get(target["revisionName"], 0) + percent
    containers = service["spec"]["template"]["spec"]["containers"]
    newest = service["status"]["latestCreatedRevisionName"]
    return Revisions(
        newest=newest,
        # Only the container that takes requests may have ports.
        image=next(one["image"] for one in containers if one.get("ports") or len(containers) == 1),
        ready=newest == service["status"].get("latestReadyRevisionName"),
        address=next((target.get("url", "") for target in targets if target.get("tag") == TAG), ""),
        traffic=traffic,
    )
