"""The steps of a deployment, as data: their commands are listed in the plan, and run when the plan is executed."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from deployment.bundle import RECORD, Bundle, Record
from deployment.cloud import AirflowEnvironment, Bucket, ImageRepository, LookupService, digest, top_folders
from deployment.commands import Command
from deployment.source import Image

_PATHS_SHOWN = 6


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a deployment.

    The callables get the path of a temporary folder, which all steps share and which lasts until all are undone.

    Attributes:
        title: an imperative sentence.
        details: the changes, one per line.
        commands: returns the commands. Values that an earlier command determines are <placeholders> until that command
            has run.
        undo: compares the current state with that before the deployment, and returns the commands that restore it. A
            step can be undone even if it failed half-way.
        undone: the state after `undo`, as one line.
        prepare: writes the local files that the commands need.
    """

    title: str
    details: Sequence[str]
    commands: Callable[[str], Sequence[Command]]
    undo: Callable[[str], Sequence[Command]]
    undone: str
    prepare: Callable[[str], None] = lambda _: None


def push_images(repository: ImageRepository, images: Sequence[Image]) -> Step:
    """Build images and push them. Undoing leaves them in the repository."""
    return Step(
        title="Build and push images",
        details=[f"{image.name}:{image.tag}" for image in images],
        commands=lambda _: [*chain(*map(repository.push, images)), repository.list_images()],
        undo=lambda _: [],
        undone="images: those that were pushed stay in the repository, unused",
    )


def start_revision(service: LookupService, repository: ImageRepository, image: Image) -> Step:
    """Start a revision without traffic. Undoing leaves the revision, which then has no instances."""
    return Step(
        title="Start a revision of the lookup service without traffic",
        details=[f"image {image.name}:{image.tag}", "wait until it has read the registry"],
        commands=lambda _: [service.start_revision(repository.reference(image)), service.read_started()],
        undo=lambda _: [],
        undone="lookup service: the new revision, if it was created, has no traffic",
    )


def move_traffic(service: LookupService, before: Mapping[str, int]) -> Step:
    """Send all requests to the newest revision."""
    split = ", ".join(f"{revision} ({percent} %)" for revision, percent in before.items()) or "no revision"
    return Step(
        title="Send all lookups to the new revision",
        details=[f"currently: {split}"],
        commands=lambda _: [service.move_traffic({service.started: 100})],
        undo=lambda _: [service.move_traffic(before)] if before and service.state().traffic != before else [],
        undone=f"lookups go to {split}, as before",
    )


def set_packages(environment: AirflowEnvironment, wanted: Mapping[str, str], before: Mapping[str, str]) -> Step:
    """Add Python packages, or change their versions."""
    return Step(
        title="Add Python packages to the Airflow environment (takes many minutes, restarts Airflow)",
        details=[f"{name}{specifier}" for name, specifier in wanted.items()],
        commands=lambda _: [environment.set_packages(wanted)],
        undo=lambda _: _restore(environment.set_packages, environment.state().packages, wanted, before),
        undone="Python packages of the Airflow environment: as before",
    )


def set_variables(environment: AirflowEnvironment, wanted: Mapping[str, str | None], before: Mapping[str, str]) -> Step:
    """Set environment variables, and remove those that are None."""
    kinds = {
        "add": [name for name, value in wanted.items() if value is not None and name not in before],
        "change": [name for name, value in wanted.items() if value is not None and name in before],
        "remove": [name for name, value in wanted.items() if value is None],
    }
    return Step(
        title="Set environment variables of the Airflow environment (takes minutes, restarts Airflow)",
        details=[f"{kind} {', '.join(names)}" for kind, names in kinds.items() if names],
        commands=lambda _: [environment.set_variables(wanted)],
        undo=lambda _: _restore(environment.set_variables, environment.state().variables, wanted, before),
        undone="environment variables of the Airflow environment: as before",
    )


def _restore(
    update: Callable[[Mapping[str, str | None]], Command],
    now: Mapping[str, str],
    changed: Mapping[str, str | None],
    before: Mapping[str, str],
) -> list[Command]:
    """Return the update that restores the changed names, unless all are as before."""
    restored = {name: before.get(name) for name in changed if now.get(name) != before.get(name)}
    return [update(restored)] if restored else []


@dataclass(frozen=True)
class FileReplacement:
    """Replaces the files in the bucket. Uploads modules, pipelines and DAG files in this order, and deletes last.

    Attributes:
        bucket: the bucket of the Airflow environment.
        bundle: the files.
        image: returns the address of the workers' image.
        before: the digest of each object before the deployment, by path.
        previous: the record of the previous deployment.
        record: the record of this deployment.
    """

    bucket: Bucket
    bundle: Bundle
    image: Callable[[], str]
    before: Mapping[str, str]
    previous: Record
    record: Record

    def step(self) -> Step:
        """Return the step."""
        kinds = {
            "add": [path for path in self.record.files if path not in self.before],
            "change": self.changed(),
            "remove": self._removed(),
        }
        return Step(
            title="Replace the DAGs and the modules that they import",
            details=[f"{kind} {shortened(paths)}" for kind, paths in kinds.items() if paths],
            commands=self._commands,
            undo=self._undo,
            undone="DAGs and the modules that they import: as before",
            prepare=self._prepare,
        )

    def changed(self) -> list[str]:
        """Return the paths of objects that get another content."""
        return [path for group in self._uploads() for path in group if path in self.before and path != RECORD]

    def _removed(self) -> list[str]:
        """Return the paths of objects that only the previous deployment had."""
        return sorted((set(self.previous.files) & self.before.keys()) - set(self.record.files))

    def _replaced(self) -> list[str]:
        """Return the paths of objects that are replaced or deleted."""
        return [*self.changed(), *self._removed(), *({RECORD} & self.before.keys())]

    def _uploads(self) -> list[dict[str, bytes]]:
        """Return groups of files in upload order.

        The first record lists the files of both deployments, so that the next deployment knows them even if this one
        is killed.
        """
        both = self.record.model_copy(update={"files": sorted({*self.previous.files, *self.record.files})})
        groups = [
            {path: content for path, content in group.items() if self.before.get(path) != digest(content)}
            for group in self.bundle.groups(self.image())
        ]
        return [{RECORD: both.to_bytes()}, *groups, {RECORD: self.record.to_bytes()}]

    def _prepare(self, folder: str) -> None:
        for top in top_folders(self._replaced()):
            Path(folder, "backup", top).mkdir(parents=True)
        _write(self._uploads(), f"{folder}/new")

    def _commands(self, folder: str) -> list[Command]:
        *uploads, record = self.bucket.upload(self._uploads(), f"{folder}/new")
        backup = self.bucket.download(self._replaced(), f"{folder}/backup")
        return [*backup, *uploads, *self.bucket.remove(self._removed()), record]

    def _undo(self, folder: str) -> list[Command]:
        now = self.bucket.digests()
        lost = {
            path: Path(folder, "backup", path).read_bytes()
            for path in self._replaced()
            if now.get(path) != self.before[path]
        }
        groups = [{path: lost.pop(path) for path in group if path in lost} for group in self.bundle.groups("")]
        groups.append(lost)  # the objects that were deleted, and the record
        _write(groups, f"{folder}/old")
        added = (now.keys() - self.before.keys()) & {*self.record.files, RECORD}
        return [*self.bucket.upload(groups, f"{folder}/old"), *self.bucket.remove(added)]


def _write(groups: Sequence[Mapping[str, bytes]], folder: str) -> None:
    """Write each group of files into a subfolder that its number names."""
    for number, files in enumerate(groups, 1):
        for path, content in files.items():
            file = Path(folder, str(number), path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)


def shortened(paths: Sequence[str]) -> str:
    """List a few paths, or count many by folder."""
    if len(paths) <= _PATHS_SHOWN:
        return ", ".join(paths)
    folders = Counter("/".join(path.split("/")[:2]) for path in paths)
    return f"{len(paths)} files: " + ", ".join(f"{folder} ({count})" for folder, count in sorted(folders.items()))
