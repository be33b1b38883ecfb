"""What a deployment changes, and what it leaves as it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployment import images, packages
from deployment.bucket import Bucket
from deployment.commands import Commands
from deployment.composer import AirflowEnvironment, EnvironmentState
from deployment.errors import DeploymentError
from deployment.images import Image, ImageRepository
from deployment.outputs import IMAGE_VARIABLE, Outputs
from deployment.record import PATH, Record, parse
from deployment.service import LookupService, ServiceState
from deployment.source import Source
from deployment.steps import MoveTraffic, PushImages, ReplaceFiles, SetPackages, SetVariables, StartRevision, Step


@dataclass(frozen=True, slots=True)
class Found:
    """How things are before a deployment."""

    environment: EnvironmentState
    installed: dict[str, str] | None
    files: dict[str, str]
    record: Record
    service: ServiceState


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps, in order, and what needs none."""

    steps: Sequence[Step]
    unchanged: Sequence[str]


class Planner:
    """Makes a plan for an environment."""

    def __init__(self, outputs: Outputs, source: Source, commands: Commands) -> None:
        """Plan for what Terraform made.

        Args:
            outputs: what Terraform made.
            source: what is deployed.
            commands: runs git, docker and gcloud.
        """
        self._outputs = outputs
        self._source = source
        self._commands = commands
        self._environment = AirflowEnvironment(outputs.composer, outputs.project, commands)
        self._service = LookupService(outputs.api, outputs.project, commands)
        self._repository = ImageRepository(outputs.image_repository, outputs.project, commands)

    def look(self) -> Found:
        """Ask Google Cloud how things are.

        Raises:
            DeploymentError: something cannot be asked, or cannot be deployed to.
        """
        environment = self._environment.state()
        bucket = self._bucket(environment)
        files = bucket.digests()
        record = parse(bucket.read(PATH), f"{bucket.url}/{PATH}") if PATH in files else Record()
        self._repository.load()
        return Found(environment, self._environment.installed(), files, record, self._service.state())

    def nothing(self) -> Found:
        """Google Cloud as it is before a first deployment, without asking."""
        environment = EnvironmentState("gs://BUCKET", "IMAGE", {}, {})
        service = ServiceState(image="", newest="", traffic={})
        return Found(environment, None, {}, Record(), service)

    def plan(self, found: Found) -> Plan:
        """What has to be done, in the order that keeps what runs running.

        What runs later may need what comes earlier: DAGs come last, after the packages and variables that they need,
        and after the service that has to understand what they write. The slow steps come before anything that users
        notice.

        Raises:
            DeploymentError: the environment does not allow it.
        """
        self._refuse_another_image(found.environment)
        beam = "ENVIRONMENT" if found.installed is None else packages.beam_version(found.installed)
        serving, workers = images.lookup_service(self._source), images.beam_workers(self._source, beam)
        missing = [image for image in (serving, workers) if not self._repository.has(image)]
        started = StartRevision(self._service, self._repository, serving)
        is_served = found.service.serves(self._repository.reference(serving))
        parts: list[Step | str] = [
            PushImages(self._repository, missing) if missing else "images: all are there",
            "lookup service: the revision that gets all traffic has the image" if is_served else started,
            self._packages(found),
            self._variables(found),
            *([] if is_served else [MoveTraffic(self._service, started, found.service.traffic)]),
            self._files(found, workers),
        ]
        return Plan(
            steps=[part for part in parts if isinstance(part, Step)],
            unchanged=[part for part in parts if isinstance(part, str)],
        )

    def _packages(self, found: Found) -> Step | str:
        if found.installed is None:
            return "Python packages: the environment has to be asked which it lacks"
        environment = found.environment
        missing = packages.missing(found.installed, environment.packages, environment.image)
        if not missing:
            return f"Python packages: {environment.image} has what tasks import"
        return SetPackages(self._environment, missing, environment.packages)

    def _variables(self, found: Found) -> Step | str:
        wanted, there = self._outputs.environment_variables, found.environment.variables
        changes: dict[str, str | None] = {name: value for name, value in wanted.items() if there.get(name) != value}
        changes |= dict.fromkeys(name for name in found.record.variables if name in there and name not in wanted)
        if not changes:
            return f"environment variables: all {len(wanted)} are set"
        return SetVariables(self._environment, changes, there)

    def _files(self, found: Found, workers: Image) -> Step | str:
        step = ReplaceFiles(
            self._bucket(found.environment),
            self._source,
            self._repository,
            workers,
            found.files,
            Record(commit=self._source.name, variables=sorted(self._outputs.environment_variables)),
            found.record.files,
        )
        if not step.details and step.record.variables == found.record.variables:
            return f"files: all {len(step.record.files)} are there"
        return step

    def _refuse_another_image(self, environment: EnvironmentState) -> None:
        if IMAGE_VARIABLE in environment.variables:
            raise DeploymentError(
                f"{IMAGE_VARIABLE} is set in the Airflow environment, and would override the image that is deployed. "
                f"Remove it: gcloud composer environments update {self._outputs.composer.environment} "
                f"--location={self._outputs.composer.location} --remove-env-variables={IMAGE_VARIABLE}"
            )

    def _bucket(self, environment: EnvironmentState) -> Bucket:
        return Bucket(environment.bucket, self._outputs.project, self._commands)
