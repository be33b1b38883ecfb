"""The resources of Google Cloud that a deployment reads and changes.

A method that reads runs a command at once, and raises CommandError if it fails. A method that changes something only
returns commands: the plan shows them, and a step runs them.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from deployment.commands import Command, DeploymentError, Runner
from deployment.outputs import Outputs
from deployment.packages import parse_list
from deployment.source import Image

FOLDERS = ("dags", "plugins", "data/foreserve")
"""Folders of the bucket that a deployment writes. Other folders, such as Airflow's logs, are never listed."""

_PLATFORM = "linux/amd64"  # of Cloud Run, and of Dataflow's default workers
_OBJECTS_PER_REMOVAL = 100  # the length of a command line is limited


class Bucket:
    """The bucket of an Airflow environment, at the URL gs://NAME."""

    def __init__(self, url: str, outputs: Outputs, runner: Runner) -> None:
        self.url = url
        self._project = f"--project={outputs.project}"
        self._runner = runner

    def digests(self) -> dict[str, str]:
        """Return the MD5 digest (Base64) of each object in `FOLDERS`, by path."""
        urls = [f"{self.url}/{folder}/**" for folder in FOLDERS]
        command = ("gcloud", "storage", "objects", "list", *urls, "--raw", self._project)
        objects = json.loads(self._runner.output(*command, "--format=json(name,md5Hash,timeDeleted)") or "[]")
        return {entry["name"]: entry.get("md5Hash", "") for entry in objects if not entry.get("timeDeleted")}

    def read(self, path: str) -> str:
        """Return the text of an object."""
        return self._runner.output("gcloud", "storage", "cat", f"{self.url}/{path}", self._project)

    def download(self, paths: Iterable[str], folder: str) -> list[Command]:
        """Copy the folders of these objects to a local one. Whole folders, as a command for each object is slow."""
        return [self._sync(f"{self.url}/{top}", f"{folder}/{top}") for top in top_folders(paths)]

    def upload(self, groups: Sequence[Iterable[str]], folder: str) -> list[Command]:
        """Copy groups of files, one after the other, from the subfolders 1, 2, ... of a local folder."""
        return [
            self._sync(f"{folder}/{number}/{top}", f"{self.url}/{top}")
            for number, paths in enumerate(groups, 1)
            for top in top_folders(paths)
        ]

    def remove(self, paths: Iterable[str]) -> list[Command]:
        """Delete objects."""
        urls = [f"{self.url}/{path}" for path in sorted(paths)]
        batches = [urls[start : start + _OBJECTS_PER_REMOVAL] for start in range(0, len(urls), _OBJECTS_PER_REMOVAL)]
        return [Command("gcloud", "storage", "rm", *batch, self._project) for batch in batches]

    def _sync(self, source: str, target: str) -> Command:
        return Command("gcloud", "storage", "rsync", "--recursive", "--checksums-only", source, target, self._project)


def digest(content: bytes) -> str:
    """Return the MD5 digest of a content in Base64, as Cloud Storage lists it."""
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def top_folders(paths: Iterable[str]) -> list[str]:
    """Return the members of `FOLDERS` that contain any of the paths."""
    paths = list(paths)
    return [folder for folder in FOLDERS if any(path.startswith(f"{folder}/") for path in paths)]


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """Settings of an Airflow environment.

    Attributes:
        bucket: gs://NAME.
        image: the version of its image, such as composer-3-airflow-2.11.1-build.17.
        variables: its environment variables.
        packages: specifiers, by name, of the packages that were added to the image.
    """

    bucket: str
    image: str
    variables: Mapping[str, str] = field(repr=False)
    packages: Mapping[str, str]


class AirflowEnvironment:
    """The Airflow environment on Cloud Composer.

    An update takes minutes, restarts Airflow, and can change either packages or variables.
    """

    def __init__(self, outputs: Outputs, runner: Runner) -> None:
        self._name = outputs.composer.environment
        self._place = (f"--location={outputs.composer.location}", f"--project={outputs.project}")
        self._runner = runner

    def state(self) -> EnvironmentState:
        """Return the current settings.

        Raises:
            DeploymentError: an update is running, or the environment is broken.
        """
        described = json.loads(self._runner.output(*self._words("describe"), "--format=json"))
        if described["state"] != "RUNNING":
            raise DeploymentError(
                f"the Airflow environment {self._name} is {described['state']}; deploy when it is RUNNING"
            )
        software = described["config"]["softwareConfig"]
        return EnvironmentState(
            bucket=described["config"]["dagGcsPrefix"].removesuffix("/dags"),
            image=software["imageVersion"],
            variables=software.get("envVariables", {}),
            packages=software.get("pypiPackages", {}),
        )

    def installed(self) -> dict[str, str]:
        """Return the versions of all Python packages on a worker."""
        return parse_list(self._runner.output(*self._words("list-packages")))

    def set_variables(self, wanted: Mapping[str, str | None]) -> Command:
        """Set environment variables, and remove those that are None."""
        flags: dict[str, Mapping[str, str] | list[str]] = {}
        if update := {name: value for name, value in sorted(wanted.items()) if value is not None}:
            flags["--update-env-variables"] = update
        if remove := _removed(wanted):
            flags["--remove-env-variables"] = remove
        return Command(*self._words("update"), secret_flags=flags)

    def set_packages(self, wanted: Mapping[str, str | None]) -> Command:
        """Set the specifiers of packages, and remove those that are None."""
        flags = [f"--update-pypi-package={name}{value}" for name, value in sorted(wanted.items()) if value is not None]
        if remove := _removed(wanted):
            flags.append(f"--remove-pypi-packages={','.join(remove)}")
        return Command(*self._words("update"), *flags)

    def _words(self, verb: str) -> tuple[str, ...]:
        return ("gcloud", "composer", "environments", verb, self._name, *self._place)


def _removed(wanted: Mapping[str, str | None]) -> list[str]:
    return sorted(name for name, value in wanted.items() if value is None)


@dataclass(frozen=True, slots=True)
class ServiceState:
    """Revisions of the lookup service.

    Attributes:
        image: the image of the newest revision.
        newest: the name of the newest revision.
        traffic: percentages of requests, by revision.
    """

    image: str
    newest: str
    traffic: dict[str, int]

    def serves(self, image: str) -> bool:
        """Return True if the newest revision has this image and gets all requests."""
        return self.image == image and self.traffic == {self.newest: 100}


class LookupService:
    """The lookup service on Cloud Run.

    Attributes:
        started: the name of the new revision; a placeholder until `read_started` has run.
    """

    def __init__(self, outputs: Outputs, runner: Runner) -> None:
        self._name = outputs.api.service
        self._place = (f"--region={outputs.api.location}", f"--project={outputs.project}")
        self._runner = runner
        self.started = "<new revision>"

    def state(self) -> ServiceState:
        """Return the current revisions."""
        return _service_state(self._runner.output(*self._words("describe"), "--format=json"))

    def start_revision(self, image: str) -> Command:
        """Start a revision without traffic, and wait until it is ready.

        A revision is ready when an instance has answered Cloud Run's startup probe, a request to /readyz: the instance
        has read the registry. gcloud names the revision, because Terraform would report a name in the template, or a
        tag, as a change.
        """
        return Command(
            "gcloud", "run", "deploy", self._name, f"--image={image}", "--no-traffic", *self._place, "--quiet"
        )

    def read_started(self) -> Command:
        """Read the name of the newest revision into `started`."""

        def read(described: str) -> None:
            self.started = _service_state(described).newest

        return Command(*self._words("describe"), "--format=json", read=read)

    def move_traffic(self, traffic: Mapping[str, int]) -> Command:
        """Divide the requests among revisions, by percentages."""
        split = ",".join(f"{revision}={percent}" for revision, percent in traffic.items())
        return Command(*self._words("update-traffic"), f"--to-revisions={split}")

    def _words(self, verb: str) -> tuple[str, ...]:
        return ("gcloud", "run", "services", verb, self._name, *self._place)


def _service_state(described: str) -> ServiceState:
    service = json.loads(described)
    status = service["status"]
    traffic: dict[str, int] = {}
    for target in status.get("traffic", []):
        if percent := target.get("percent"):
            traffic[target["revisionName"]] = traffic.get(target["revisionName"], 0) + percent
    containers = service["spec"]["template"]["spec"]["containers"]
    return ServiceState(
        # Only the container that takes requests may have ports.
        image=next(container["image"] for container in containers if container.get("ports") or len(containers) == 1),
        newest=status["latestCreatedRevisionName"],
        traffic=traffic,
    )


class ImageRepository:
    """The repository of images in Artifact Registry."""

    def __init__(self, outputs: Outputs, runner: Runner) -> None:
        self._address = outputs.image_repository
        self._project = f"--project={outputs.project}"
        self._runner = runner
        self._digests: dict[tuple[str, str], str] = {}

    def __contains__(self, image: Image) -> bool:
        return (image.name, image.tag) in self._digests

    def load(self) -> None:
        """List the images now."""
        self._read_list(self._runner.output(*self.list_images().words))

    def list_images(self) -> Command:
        """List the images in the repository, and remember their digests."""
        listed = ("gcloud", "artifacts", "docker", "images", "list", self._address, "--include-tags", "--format=json")
        return Command(*listed, self._project, read=self._read_list)

    def push(self, image: Image) -> list[Command]:
        """Build an image, and push it."""
        tagged = f"{self._address}/{image.name}:{image.tag}"
        arguments = [f"--build-arg={name}={value}" for name, value in image.arguments.items()]
        build = ("docker", "build", f"--platform={_PLATFORM}", f"--file={image.dockerfile}", *arguments)
        return [Command(*build, f"--tag={tagged}", "."), Command("docker", "push", tagged)]

    def reference(self, image: Image) -> str:
        """Return the address of an image by its digest, or with a placeholder until the image is listed."""
        digest = self._digests.get((image.name, image.tag), "<digest of the pushed image>")
        return f"{self._address}/{image.name}@{digest}"

    def _read_list(self, listing: str) -> None:
        for entry in json.loads(listing or "[]"):
            name = entry["package"].removeprefix(f"{self._address}/")
            tags = entry["tags"] if isinstance(entry["tags"], list) else entry["tags"].split(",")
            self._digests.update({(name, tag.strip()): entry["version"] for tag in tags})
