"""The plan of a deployment: the steps that bring the current state to the wanted one."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployment import packages, steps
from deployment.bundle import RECORD, Record, bundle, parse_record
from deployment.cloud import AirflowEnvironment, Bucket, EnvironmentState, ImageRepository, LookupService, ServiceState
from deployment.commands import DeploymentError, Runner
from deployment.outputs import IMAGE_VARIABLE, Outputs
from deployment.source import Image, Source
from deployment.steps import FileReplacement, Step


@dataclass(frozen=True, slots=True)
class CurrentState:
    """State of Google Cloud before the deployment.

    Attributes:
        environment: the settings of the Airflow environment.
        installed: the versions of its Python packages; None if they are not known.
        files: the digests of the objects in its bucket, by path.
        record: the previous deployment.
        service: the revisions of the lookup service.
    """

    environment: EnvironmentState
    installed: dict[str, str] | None
    files: dict[str, str]
    record: Record
    service: ServiceState


UNKNOWN = CurrentState(
    environment=EnvironmentState("gs://<bucket of the environment>", "<image>", {}, {}),
    installed=None,
    files={},
    record=Record(),
    service=ServiceState("", "", {"<current revision>": 100}),
)
"""The state before a first deployment, with placeholders for values that are not known offline."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in order, and the parts that are already up to date."""

    steps: Sequence[Step]
    unchanged: Sequence[str]


class Planner:
    """Makes the plan for one environment.

    Args:
        outputs: the resources that Terraform made.
        source: the working tree to deploy.
        runner: runs gcloud.
    """

    def __init__(self, outputs: Outputs, source: Source, runner: Runner) -> None:
        self._outputs = outputs
        self._source = source
        self._runner = runner
        self._environment = AirflowEnvironment(outputs, runner)
        self._service = LookupService(outputs, runner)
        self._repository = ImageRepository(outputs, runner)

    def current_state(self) -> CurrentState:
        """Read the current state from Google Cloud.

        Raises:
            DeploymentError: a resource cannot be read, or is not ready for a deployment.
        """
        environment = self._environment.state()
        bucket = self._bucket(environment)
        files = bucket.digests()
        record = parse_record(bucket.read(RECORD), f"{bucket.url}/{RECORD}") if RECORD in files else Record()
        self._repository.load()
        return CurrentState(environment, self._environment.installed(), files, record, self._service.state())

    def plan(self, current: CurrentState) -> Plan:
        """Return the steps in an order that keeps the running system working.

        A later step may need an earlier one. DAGs come last: they need the packages and the variables, and the service
        must understand what they write. Slow steps come before those that users notice.

        Raises:
            DeploymentError: the environment does not allow the deployment.
        """
        self._refuse_image_variable(current.environment)
        beam = "<beam version of the environment>"
        if current.installed is not None:
            beam = packages.beam_version(current.installed)
        lookups, workers = self._source.lookup_image(), self._source.worker_image(beam)
        missing = [image for image in (lookups, workers) if image not in self._repository]
        parts: list[Step | str] = [
            steps.push_images(self._repository, missing) if missing else "images: all are in the repository"
        ]
        if is_served := current.service.serves(self._repository.reference(lookups)):
            parts.append("lookup service: the revision with all traffic has the image")
        else:
            parts.append(steps.start_revision(self._service, self._repository, lookups))
        parts += [self._packages(current), self._variables(current)]
        if not is_served:
            parts.append(steps.move_traffic(self._service, current.service.traffic))
        parts.append(self._files(current, workers))
        return Plan(
            steps=[part for part in parts if isinstance(part, Step)],
            unchanged=[part for part in parts if isinstance(part, str)],
        )

    def _packages(self, current: CurrentState) -> Step | str:
        environment = current.environment
        if current.installed is None:
            return "Python packages: not known offline"
        missing = packages.missing(current.installed, environment.packages, environment.image)
        if not missing:
            return f"Python packages: {environment.image} has all that tasks import"
        return steps.set_packages(self._environment, missing, environment.packages)

    def _variables(self, current: CurrentState) -> Step | str:
        wanted, actual = self._outputs.environment_variables, current.environment.variables
        changes: dict[str, str | None] = {name: value for name, value in wanted.items() if actual.get(name) != value}
        changes |= dict.fromkeys(name for name in current.record.variables if name in actual and name not in wanted)
        if not changes:
            return f"environment variables: all {len(wanted)} are set"
        return steps.set_variables(self._environment, changes, actual)

    def _files(self, current: CurrentState, workers: Image) -> Step | str:
        new, bucket = bundle(self._source), self._bucket(current.environment)
        variables = sorted(self._outputs.environment_variables)
        replacement = FileReplacement(
            bucket,
            new,
            lambda: self._repository.reference(workers),
            before=current.files,
            previous=current.record,
            record=Record(commit=self._source.name, files=new.paths(), variables=variables),
        )
        if others := [path for path in replacement.changed() if path not in current.record.files]:
            raise DeploymentError(
                f"{bucket.url} has files that are not from a deployment of Foreserve and would be overwritten: "
                f"{steps.shortened(others)}. Move them elsewhere"
            )
        step = replacement.step()
        if not step.details and variables == current.record.variables:
            return f"files: all {len(replacement.record.files)} are in the bucket"
        return step

    def _refuse_image_variable(self, environment: EnvironmentState) -> None:
        if IMAGE_VARIABLE in environment.variables:
            composer = self._outputs.composer
            raise DeploymentError(
                f"{IMAGE_VARIABLE} is set in the Airflow environment, and would override the image that is deployed. "
                f"Remove it: gcloud composer environments update {composer.environment} "
                f"--location={composer.location} --remove-env-variables={IMAGE_VARIABLE}"
            )

    def _bucket(self, environment: EnvironmentState) -> Bucket:
        return Bucket(environment.bucket, self._outputs, self._runner)
