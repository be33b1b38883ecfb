"""The steps of a deployment. Each can be taken back, also when it failed half-way: it looks how things are first."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployment.bucket import Bucket, digest
from deployment.bundle import Bundle, bundle
from deployment.composer import AirflowEnvironment
from deployment.errors import DeploymentError
from deployment.images import Image, ImageRepository
from deployment.record import PATH, Record
from deployment.service import LookupService
from deployment.source import Source

_PATHS_SHOWN = 6


class Step(ABC):
    """A step.

    Attributes:
        title: what it does.
        details: what it changes, a line each.
    """

    title: str
    details: list[str]

    @abstractmethod
    def apply(self) -> None:
        """Do it.

        Raises:
            DeploymentError: it failed, perhaps half-way.
        """

    @abstractmethod
    def undo(self) -> str:
        """Make it as it was before; say how that is.

        Raises:
            DeploymentError: it is not as before.
        """


@dataclass
class PushImages(Step):
    """Builds images, and pushes them."""

    repository: ImageRepository
    images: Sequence[Image]

    def __post_init__(self) -> None:
        """Say what it does."""
        self.title = "Build and push images"
        self.details = [f"{image.name}:{image.tag}" for image in self.images]

    def apply(self) -> None:
        """Build and push them."""
        for image in self.images:
            self.repository.push(image)

    def undo(self) -> str:
        """Leave them."""
        return "images: what was pushed stays in the repository, and nothing uses it"


@dataclass
class StartRevision(Step):
    """Starts a revision of the lookup service that gets no requests yet."""

    service: LookupService
    repository: ImageRepository
    image: Image
    revision: str = ""

    def __post_init__(self) -> None:
        """Say what it does."""
        self.title = "Start a revision of the lookup service without traffic"
        self.details = [f"image {self.image.name}:{self.image.tag}", "wait until it has read the registry"]

    def apply(self) -> None:
        """Start it, and wait until it is ready."""
        self.revision = self.service.start_revision(self.repository.reference(self.image))

    def undo(self) -> str:
        """Leave the revision, which has neither requests nor idle instances."""
        return "lookup service: the new revision, if there is one, has no traffic"


@dataclass
class MoveTraffic(Step):
    """Sends all requests to the new revision."""

    service: LookupService
    started: StartRevision
    before: Mapping[str, int]

    def __post_init__(self) -> None:
        """Say what it does."""
        self.title = "Send all lookups to the new revision"
        self.details = [f"until now: {_split(self.before)}"]

    def apply(self) -> None:
        """Send them there."""
        self.service.move_traffic({self.started.revision: 100})

    def undo(self) -> str:
        """Send them where they went."""
        if self.before and self.service.state().traffic != self.before:
            self.service.move_traffic(dict(self.before))
        return f"lookups go to {_split(self.before)}, as before"


@dataclass
class SetPackages(Step):
    """Adds Python packages to the Airflow environment."""

    environment: AirflowEnvironment
    wanted: Mapping[str, str]
    before: Mapping[str, str]

    def __post_init__(self) -> None:
        """Say what it does."""
        self.title = "Add Python packages to the Airflow environment (takes many minutes, restarts Airflow)"
        self.details = [f"{name}{specifier}" for name, specifier in self.wanted.items()]

    def apply(self) -> None:
        """Add them."""
        self.environment.set_packages(self.wanted)

    def undo(self) -> str:
        """Remove them, or set them to what they were."""
        back = _back(self.environment.state().packages, self.wanted, self.before)
        if back:
            self.environment.set_packages(back)
        return "Python packages of the Airflow environment: as before"


@dataclass
class SetVariables(Step):
    """Sets environment variables of the Airflow environment."""

    environment: AirflowEnvironment
    wanted: Mapping[str, str | None] = field(repr=False)
    before: Mapping[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        """Say what it does."""
        self.title = "Set environment variables of the Airflow environment (takes minutes, restarts Airflow)"
        kinds = {
            "add": [name for name, value in self.wanted.items() if value is not None and name not in self.before],
            "change": [name for name, value in self.wanted.items() if value is not None and name in self.before],
            "remove": [name for name, value in self.wanted.items() if value is None],
        }
        self.details = [f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names]

    def apply(self) -> None:
        """Set them."""
        self.environment.set_variables(self.wanted)

    def undo(self) -> str:
        """Set them to what they were."""
        back = _back(self.environment.state().variables, self.wanted, self.before)
        if back:
            self.environment.set_variables(back)
        return "environment variables of the Airflow environment: as before"


@dataclass
class ReplaceFiles(Step):
    """Brings the files to Airflow: first what DAG files import, then what they read, then they; removals last."""

    bucket: Bucket
    source: Source
    repository: ImageRepository
    worker_image: Image
    before: Mapping[str, str]
    record: Record
    ours: Sequence[str]
    kept: dict[str, bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Say what it does."""
        files = self._bundle().files()
        self.record = self.record.model_copy(update={"files": sorted(files)})
        self._gone = sorted(path for path in self.ours if path not in files and path in self.before)
        self._refuse_others_files(files)
        self.title = "Replace the DAGs, and what they import"
        changes = {
            "add": [path for path in files if path not in self.before],
            "change": [path for path, content in files.items() if self._is_changed(path, content)],
            "remove": self._gone,
        }
        self.details = [f"{kind} {_shortened(paths)}" for kind, paths in changes.items() if paths]

    def apply(self) -> None:
        """Keep what is there, and replace it."""
        new = self._bundle()
        files = new.files()
        changed = [path for path, content in files.items() if self._is_changed(path, content)]
        record = [PATH] if PATH in self.before else []
        if kept := [*changed, *self._gone, *record]:
            self.kept = self.bucket.download(kept)
        # First, so that also after an end without an undo the next deployment knows what is its own.
        every_file = sorted({*self.ours, *self.record.files})
        self.bucket.upload({PATH: self.record.model_copy(update={"files": every_file}).to_bytes()})
        for group in (new.modules, new.pipelines, new.dag_files):
            self.bucket.upload(
                {path: content for path, content in group.items() if self.before.get(path) != digest(content)}
            )
        if self._gone:
            self.bucket.remove(self._gone)
        self.bucket.upload({PATH: self.record.to_bytes()})

    def undo(self) -> str:
        """Bring back what was there."""
        now = self.bucket.digests()
        lost = {path: content for path, content in self.kept.items() if now.get(path) != digest(content)}
        order = self._bundle()
        for group in (order.modules, order.pipelines, order.dag_files):
            self.bucket.upload({path: content for path, content in lost.items() if path in group})
        self.bucket.upload({path: lost[path] for path in lost if path in (PATH, *self._gone)})
        brought = [path for path in (*self.record.files, PATH) if path in now and path not in self.before]
        if brought:
            self.bucket.remove(brought)
        return "DAGs, and what they import: as before"

    def _bundle(self) -> Bundle:
        return bundle(self.source, self.repository.reference(self.worker_image))

    def _is_changed(self, path: str, content: bytes) -> bool:
        return path in self.before and self.before[path] != digest(content)

    def _refuse_others_files(self, files: Mapping[str, bytes]) -> None:
        others = [path for path, content in files.items() if path not in self.ours and self._is_changed(path, content)]
        if others:
            raise DeploymentError(
                f"in {self.bucket.url}, not from a deployment of Foreserve: {_shortened(others)}. Move it elsewhere; "
                "it would be overwritten"
            )


def _back(now: Mapping[str, str], wanted: Mapping[str, str | None], before: Mapping[str, str]) -> dict[str, str | None]:
    """What has to be set, for what a step touched to be as before."""
    return {name: before.get(name) for name in wanted if now.get(name) != before.get(name)}


def _split(traffic: Mapping[str, int]) -> str:
    return ", ".join(f"{revision} ({percent} %)" for revision, percent in traffic.items()) or "no revision"


def _shortened(paths: Sequence[str]) -> str:
    """A few paths, or how many there are in which folders."""
    if len(paths) <= _PATHS_SHOWN:
        return ", ".join(paths)
    folders = Counter("/".join(path.split("/")[:2]) for path in paths)
    return f"{len(paths)} files: " + ", ".join(f"{folder} ({count})" for folder, count in sorted(folders.items()))
