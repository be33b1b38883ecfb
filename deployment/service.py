"""The look-up service on Cloud Run."""

import json
import time
from dataclasses import dataclass

import httpx

from deployment.commands import Commands
from deployment.errors import DeploymentError
from deployment.outputs import Api

TAG = "candidate"
"""Of a revision that has no traffic yet: it gives it an address of its own."""

# Answered from the registry, so only by a revision that has read it. Cloud Run may keep paths that end in z, such as
# /readyz, for itself when it is asked from outside.
_ASKED = "/v1/models"
_POLL_SECONDS = 1.0
_TIMEOUT_SECONDS = 5.0
_KEPT_OUT = "HTTP 404"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What a service runs.

    Attributes:
        image: of the newest revision.
        newest: the newest revision.
        traffic: percentages by revision.
        candidate: the revision under `TAG`, and its address.
        internal: whether it can only be asked from within the project's networks.
    """

    image: str
    newest: str
    traffic: dict[str, int]
    candidate: tuple[str, str] | None
    internal: bool

    def serves(self, image: str) -> bool:
        """Whether all requests go to the newest revision, and that has the image."""
        return self.image == image and self.traffic == {self.newest: 100}


class LookUpService:
    """Reads and updates the service."""

    def __init__(self, outputs: Api, project: str, commands: Commands, ready_seconds: float) -> None:
        """Use the service that Terraform made.

        Args:
            outputs: the service.
            project: where it is.
            commands: runs gcloud.
            ready_seconds: how long a revision may take to be ready.
        """
        self._api = outputs
        self._place = (f"--region={outputs.location}", f"--project={project}")
        self._commands = commands
        self._ready_seconds = ready_seconds

    def state(self) -> ServiceState:
        """What it runs.

        Raises:
            CommandError: it cannot be asked.
        """
        return _state(self._commands.ask(*self._command("services", "describe"), "--format=json"))

    def deploy(self, image: str) -> ServiceState:
        """Make a revision with an image, that gets no traffic; wait until Cloud Run says that it is ready.

        Raises:
            CommandError: it does not become ready.
        """
        deploy = ("gcloud", "run", "deploy", self._api.service, f"--image={image}", "--no-traffic", f"--tag={TAG}")
        self._commands.do(*deploy, *self._place, "--quiet")
        scheme, _, host = self._api.url.partition("://")
        described = self._commands.do(
            *self._command("services", "describe"),
            "--format=json",
            assume=_assumed(image, f"{scheme}://{TAG}---{host}"),
        )
        return _state(described)

    def await_ready(self, address: str, *, internal: bool) -> None:
        """Wait until the service answers at one revision's address, out of the registry.

        Args:
            address: the revision's.
            internal: whether it need not answer us, where we are outside: then it has to do that Cloud Run, which asks
                /readyz before it calls a revision ready, has done so.

        Raises:
            DeploymentError: it does not in time; says what it answers instead.
        """
        token = self._token()
        self._commands.show(f"GET {address}{_ASKED}")
        if self._commands.dry:
            return
        deadline = time.monotonic() + self._ready_seconds
        with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT_SECONDS) as client:
            while (problem := _problem(client, f"{address}{_ASKED}")) is not None:
                if internal and problem.startswith(_KEPT_OUT):
                    self._commands.show(
                        "it is kept from us by the service's ingress, internal; Cloud Run says that it is ready"
                    )
                    return
                if time.monotonic() >= deadline:
                    raise DeploymentError(
                        f"after {self._ready_seconds:g} s, {address}{_ASKED} answers {problem}. 401, 403: your account "
                        "needs roles/run.invoker on the service; 503: the log of the revision says why it cannot read "
                        "the registry"
                    )
                time.sleep(_POLL_SECONDS)

    def move_traffic(self, traffic: dict[str, int]) -> None:
        """Send requests to revisions, by percentages.

        Raises:
            CommandError: they go where they went.
        """
        split = ",".join(f"{revision}={percent}" for revision, percent in traffic.items())
        self._commands.do(*self._command("services", "update-traffic"), f"--to-revisions={split}")

    def forget_candidate(self) -> None:
        """Take the tag off its revision, which then has neither an address nor idle instances any more.

        Raises:
            CommandError: it stays there.
        """
        self._commands.do(*self._command("services", "update-traffic"), f"--remove-tags={TAG}")

    def _token(self) -> str:
        """An identity token that the service takes: a service account's has to name it, a user's cannot.

        It is for the service's address also where one revision's is called.
        """
        active = ("gcloud", "auth", "list", "--filter=status:ACTIVE", "--format=value(account)")
        account = self._commands.do(*active, assume="a user").strip()
        audience = [f"--audiences={self._api.url}"] if account.endswith(".gserviceaccount.com") else []
        return self._commands.do("gcloud", "auth", "print-identity-token", *audience).strip()

    def _command(self, group: str, verb: str) -> tuple[str, ...]:
        return ("gcloud", "run", group, verb, self._api.service, *self._place)


def _state(described: str) -> ServiceState:
    service = json.loads(described)
    status = service["status"]
    traffic: dict[str, int] = {}
    candidate = None
    for target in status.get("traffic", []):
        if percent := target.get("percent"):
            traffic[target["revisionName"]] = traffic.get(target["revisionName"], 0) + percent
        if target.get("tag") == TAG:
            candidate = target["revisionName"], target["url"]
    containers = service["spec"]["template"]["spec"]["containers"]
    annotations = service.get("metadata", {}).get("annotations", {})
    return ServiceState(
        image=next(container["image"] for container in containers if container.get("ports") or len(containers) == 1),
        newest=status["latestCreatedRevisionName"],
        traffic=traffic,
        candidate=candidate,
        internal=annotations.get("run.googleapis.com/ingress", "all") != "all",
    )


def _assumed(image: str, address: str) -> str:
    """What would be described after a deployment, in a dry run."""
    revision = "(the new revision)"
    status = {
        "latestCreatedRevisionName": revision,
        "traffic": [{"revisionName": revision, "tag": TAG, "url": address}],
    }
    return json.dumps({"spec": {"template": {"spec": {"containers": [{"image": image}]}}}, "status": status})


def _problem(client: httpx.Client, url: str) -> str | None:
    """Why a revision is not ready; None: it is."""
    try:
        response = client.get(url)
    except httpx.HTTPError as error:
        return f"nothing ({type(error).__name__})"
    if response.is_success:
        return None
    return f"HTTP {response.status_code}: {response.text[:200]}"
