"""The lookup service on Cloud Run."""

import json
from dataclasses import dataclass

from deployment.commands import Commands
from deployment.outputs import Api


@dataclass(frozen=True, slots=True)
class ServiceState:
    """What a service runs.

    Attributes:
        image: of the newest revision.
        newest: the newest revision.
        traffic: percentages by revision.
    """

    image: str
    newest: str
    traffic: dict[str, int]

    def serves(self, image: str) -> bool:
        """Whether all requests go to the newest revision, and that has the image."""
        return self.image == image and self.traffic == {self.newest: 100}


class LookupService:
    """Reads and updates the service."""

    def __init__(self, outputs: Api, project: str, commands: Commands) -> None:
        """Use the service that Terraform made."""
        self._name = outputs.service
        self._place = (f"--region={outputs.location}", f"--project={project}")
        self._commands = commands

    def state(self) -> ServiceState:
        """What it runs.

        Raises:
            CommandError: it cannot be asked.
        """
        return _state(self._commands.ask(*self._command("services", "describe"), "--format=json"))

    def start_revision(self, image: str) -> str:
        """Make a revision with an image, that gets no traffic, and wait until it is ready; its name.

        It is when an instance has answered Cloud Run's startup probe, which asks /readyz: it has read the registry.
        The revision is not named here, nor tagged, for which gcloud names it: a name in the template would be a
        change that Terraform finds.

        Raises:
            CommandError: it does not become ready; says why.
        """
        deploy = ("gcloud", "run", "deploy", self._name, f"--image={image}", "--no-traffic")
        self._commands.do(*deploy, *self._place, "--quiet")
        described = self._commands.do(
            *self._command("services", "describe"), "--format=json", assume=_assumed(image, "(the new revision)")
        )
        return _state(described).newest

    def move_traffic(self, traffic: dict[str, int]) -> None:
        """Send requests to revisions, by percentages.

        Raises:
            CommandError: they go where they went.
        """
        split = ",".join(f"{revision}={percent}" for revision, percent in traffic.items())
        self._commands.do(*self._command("services", "update-traffic"), f"--to-revisions={split}")

    def _command(self, group: str, verb: str) -> tuple[str, ...]:
        return ("gcloud", "run", group, verb, self._name, *self._place)


def _state(described: str) -> ServiceState:
    service = json.loads(described)
    status = service["status"]
    traffic: dict[str, int] = {}
    for target in status.get("traffic", []):
        if percent := target.get("percent"):
            traffic[target["revisionName"]] = traffic.get(target["revisionName"], 0) + percent
    containers = service["spec"]["template"]["spec"]["containers"]
    return ServiceState(
        image=next(container["image"] for container in containers if container.get("ports") or len(containers) == 1),
        newest=status["latestCreatedRevisionName"],
        traffic=traffic,
    )


def _assumed(image: str, revision: str) -> str:
    """What would be described after a deployment, in a dry run."""
    status = {"latestCreatedRevisionName": revision}
    return json.dumps({"spec": {"template": {"spec": {"containers": [{"image": image}]}}}, "status": status})
