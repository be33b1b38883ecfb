"""The images: built from the working tree, tagged by what is in them, used by digest."""

import json
from dataclasses import dataclass

from deployment.commands import Commands
from deployment.source import Source

PLATFORM = "linux/amd64"  # what Cloud Run and Dataflow's default workers are
_UNKNOWN = "sha256:(known when it is pushed)"


@dataclass(frozen=True, slots=True)
class Image:
    """An image.

    Attributes:
        name: in the repository of images.
        tag: names what it was built from.
        dockerfile: its Dockerfile's path.
        arguments: the Dockerfile's arguments.
    """

    name: str
    tag: str
    dockerfile: str
    arguments: dict[str, str]


def lookup_service(source: Source) -> Image:
    """The lookup service's image."""
    tag = source.tag(["serving_api", "prediction_store", ".dockerignore"])
    return Image("serving-api", tag, "serving_api/Dockerfile", {"BUILD": source.name})


def beam_workers(source: Source, beam_version: str) -> Image:
    """The image of Dataflow's workers, which must have the Beam that the jobs are launched with.

    Args:
        source: what it is built from.
        beam_version: version of `apache-beam` in the Airflow environment.
    """
    tag = source.tag(["beam_jobs", "prediction_store", ".dockerignore"])
    return Image("beam-jobs", f"{tag}-beam-{beam_version}", "beam_jobs/Dockerfile", {"BEAM_VERSION": beam_version})


class ImageRepository:
    """A repository of images in Artifact Registry."""

    def __init__(self, address: str, project: str, commands: Commands) -> None:
        """Use the repository at `address`: LOCATION-docker.pkg.dev/PROJECT/NAME."""
        self._address = address
        self._project = project
        self._commands = commands
        self._known: dict[tuple[str, str], str] = {}

    def load(self) -> None:
        """Learn what is there.

        Raises:
            CommandError: it cannot be asked.
        """
        listed = ("gcloud", "artifacts", "docker", "images", "list", self._address, "--include-tags", "--format=json")
        self._learn(self._commands.ask(*listed, f"--project={self._project}"))

    def has(self, image: Image) -> bool:
        """Whether the image is there already."""
        return (image.name, image.tag) in self._known

    def push(self, image: Image) -> None:
        """Build an image, and push it.

        Raises:
            CommandError: it cannot be built, or not be pushed.
        """
        tagged = f"{self._address}/{image.name}:{image.tag}"
        arguments = [f"--build-arg={name}={value}" for name, value in image.arguments.items()]
        build = ("docker", "build", f"--platform={PLATFORM}", f"--file={image.dockerfile}", *arguments)
        self._commands.do(*build, f"--tag={tagged}", ".")
        self._commands.do("docker", "push", tagged)
        package = f"{self._address}/{image.name}"
        assumed = json.dumps([{"package": package, "tags": [image.tag], "version": _UNKNOWN}])
        listed = ("gcloud", "artifacts", "docker", "images", "list", package, "--include-tags", "--format=json")
        self._learn(self._commands.do(*listed, f"--project={self._project}", assume=assumed))

    def reference(self, image: Image) -> str:
        """The address of exactly this image, whatever its tag may come to mean."""
        digest = self._known.get((image.name, image.tag), _UNKNOWN)
        return f"{self._address}/{image.name}@{digest}"

    def _learn(self, listing: str) -> None:
        for entry in json.loads(listing or "[]"):
            name = entry["package"].removeprefix(f"{self._address}/")
            tags = entry["tags"] if isinstance(entry["tags"], list) else entry["tags"].split(",")
            self._known.update({(name, tag.strip()): entry["version"] for tag in tags})
