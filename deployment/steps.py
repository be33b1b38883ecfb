"""The steps of a deployment, in the order that keeps users and refreshes working.

The service comes before the DAGs: it must understand what new tasks write.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from deployment import packages
from deployment.service import Service
from deployment.shell import DeploymentError, Shell, say
from deployment.source import Source, bundle

ROOT = Path(__file__).parents[1]
FOLDER = Path(".state", "deployment")
"""The files of the last plan, at the paths that its commands name."""

RECORD = "data/foreserve/deployment.json"
"""The path in the bucket of the record of the last deployment: commits, revisions, and the files that it may remove."""

_TIME = 315_532_800  # 1980-01-01
_SHARES = (10, 50, 100)
_AGAIN = "Remove the cause and deploy again, or go back: make deploy-back"
_REMOVED_AT_ONCE = 100  # the length of a command line is limited


class Deployment:
    """A deployment to one environment.

    Args:
        shell: runs the commands.
        outputs: Terraform's output `deployment`.
        watch_seconds: the time for which each share of the traffic is watched.

    Attributes:
        state: what users and Airflow have now, and the remedy, for the case that the next command fails.
    """

    def __init__(self, shell: Shell, outputs: Mapping[str, Any], watch_seconds: float) -> None:
        self._shell = shell
        self._outputs = outputs
        self._watch_seconds = watch_seconds
        self._service = Service(shell, outputs["project"], outputs["api"])
        self._bucket = outputs["airflow"]["bucket"]
        self._project = f"--project={outputs['project']}"
        self.state = "Nothing was changed."

    def deploy(self, source: Source) -> None:
        """Deploy a tree: images, the lookup service, the files of Airflow."""
        say("1. Images")
        lookups, workers = self._images(source)
        say("2. The lookup service")
        record, existing = self._record()
        before = self._service.revisions()
        new, old = before.newest, before.main
        if before.image == lookups and before.traffic == {new: 100}:
            say(f"  {new} has the image, and all requests")
        else:
            self.state = f"Lookups go where they went before, mostly to {old}; a new revision gets none. {_AGAIN}"
            started = self._service.start(lookups)
            new = started.newest
            self._service.test(started.address)
            self._shift(new, old, before.image)
        say("3. Files of Airflow")
        self.state = f"All lookups go to {new}. Airflow has files of {record.get('commit', 'no deployment')}. {_AGAIN}"
        last = {name: record.get(name) for name in ("commit", "revision")} if record else {}
        before_this = record.get("before", {}) if last == {"commit": source.name, "revision": new} else last
        self._replace(source, workers, record, existing, {"revision": new, "before": before_this})

    def back(self, open_source: Callable[[str], Source]) -> None:
        """Go back to the deployment before: its revision at once, then its files."""
        record, existing = self._record()
        before = record.get("before") or {}
        if not before.get("revision") and not self._shell.offline:
            raise DeploymentError("the record in the bucket has no deployment before this one")
        now, then = record.get("revision", "<current revision>"), before.get("revision", "<revision before>")
        say("1. The lookup service")
        self.state = f"Lookups may still go to {now}. Run this command again."
        self._service.move({then: 100})
        say("2. Files of Airflow")
        self.state = f"All lookups go to {then}. Airflow still has the files of {record.get('commit')}. {_AGAIN}"
        if before.get("commit", "").endswith("-dirty"):
            raise DeploymentError(f"the files of {before['commit']} are in no commit; deploy a commit")
        source = open_source(before.get("commit", ""))
        _, workers = self._images(source)
        after = {"commit": record.get("commit"), "revision": now}
        self._replace(source, workers, record, existing, {"revision": then, "before": after})

    def _images(self, source: Source) -> tuple[str, str]:
        """Build and push the images that the repository lacks; return the addresses of both."""
        shutil.rmtree(ROOT / FOLDER, ignore_errors=True)
        source.extract(ROOT / FOLDER / "tree")
        airflow, repository = self._outputs["airflow"], self._outputs["image_repository"]
        beam = airflow["beam_version"]
        if airflow["environment"]:
            where = (airflow["environment"], f"--location={airflow['location']}", self._project)
            listing = self._shell.read("gcloud", "composer", "environments", "list-packages", *where, offline="")
            installed = packages.parse_list(listing) if listing else {"apache-beam": "BEAM_VERSION"}
            if listing:
                packages.require(installed)
            beam = installed["apache-beam"]
        arguments = {"serving-api": f"BUILD={source.name}", "beam-jobs": f"BEAM_VERSION={beam}"}
        tags = {name: source.tag(name.replace("-", "_"), "prediction_store", ".dockerignore") for name in arguments}
        tags["beam-jobs"] += f"-beam-{beam}"
        digests = self._digests()
        self.state = f"Users and Airflow have what they had before. {_AGAIN}"
        missing = [name for name in tags if (name, tags[name]) not in digests]
        for name in missing:
            address, tree = f"{repository}/{name}:{tags[name]}", FOLDER / "tree"
            file = f"--file={tree}/{name.replace('-', '_')}/Dockerfile"
            options = (f"--build-arg={arguments[name]}", "--platform=linux/amd64", "--provenance=false", file)
            self._shell.change("docker", "build", *options, f"--tag={address}", str(tree))
            self._shell.change("docker", "push", address)
        if missing and self._shell.applies:
            digests = self._digests()
        lookups, workers = (f"{repository}/{name}@{digests.get((name, tags[name]), 'DIGEST')}" for name in tags)
        return lookups, workers

    def _digests(self) -> dict[tuple[str, str], str]:
        """Return the digests of the images in the repository, by name and tag."""
        repository = self._outputs["image_repository"]
        words = ("gcloud", "artifacts", "docker", "images", "list", repository, "--include-tags", "--format=json")
        found = json.loads(self._shell.read(*words, self._project, offline="[]") or "[]")
        return {
            (entry["package"].removeprefix(f"{repository}/"), tag.strip()): entry["version"]
            for entry in found
            for tag in (entry["tags"] if isinstance(entry["tags"], list) else entry["tags"].split(","))
        }

    def _shift(self, new: str, old: str, image: str) -> None:
        """Move the traffic in steps to a revision, and back at once if it answers worse."""
        shares = (100,) if "/cloudrun/container/hello" in image else _SHARES  # Terraform's placeholder has no users
        try:
            for share in shares:
                self._service.move({new: share, old: 100 - share})
                self._service.watch(new, old, self._watch_seconds if shares == _SHARES else 0)
        except (DeploymentError, KeyboardInterrupt):
            self.state = f"Lookups are divided between {new} and {old}. Run: make deploy-back"
            self._service.move({old: 100})
            self.state = f"All lookups go to {old} again. {_AGAIN}"
            raise

    def _record(self) -> tuple[dict[str, Any], set[str]]:
        """Return the record of the last deployment, and the paths of all objects beside Airflow's logs."""
        urls = [f"{self._bucket}/{folder}/**" for folder in ("dags", "plugins", "data/foreserve")]
        words = ("gcloud", "storage", "objects", "list", *urls, "--raw", "--format=json(name,timeDeleted)")
        objects = json.loads(self._shell.read(*words, self._project, offline="[]") or "[]")
        prefix = "".join(f"{part}/" for part in PurePosixPath(self._bucket.removeprefix("gs://")).parts[1:])
        existing = {entry["name"].removeprefix(prefix) for entry in objects if not entry.get("timeDeleted")}
        if RECORD not in existing:
            return {}, existing
        record = self._shell.read("gcloud", "storage", "cat", f"{self._bucket}/{RECORD}", self._project, offline="")
        try:
            return json.loads(record), existing
        except ValueError as error:
            raise DeploymentError(
                f"{self._bucket}/{RECORD} is no record of a deployment; restore it: {error}"
            ) from error

    def _replace(
        self, source: Source, workers: str, record: dict[str, Any], existing: set[str], more: dict[str, Any]
    ) -> None:
        """Upload modules, pipelines and DAG files in this order, and then remove files of the last deployment."""
        groups = bundle(ROOT / FOLDER / "tree", workers)
        files, known = {path for group in groups for path in group}, set(record.get("files", []))
        if others := sorted((files & existing) - known):
            raise DeploymentError(
                f"{self._bucket} has files that no deployment of Foreserve brought, and would lose them: "
                f"{', '.join(others[:5])}. Move them elsewhere"
            )
        # The first record knows the files of both deployments, in case that this one is killed.
        self._write_record(record | {"files": sorted(files | known)})
        for number, group in enumerate(groups, 1):
            for top in sorted({_write(ROOT / FOLDER / str(number), path, content) for path, content in group.items()}):
                folders = (f"{FOLDER}/{number}/{top}", f"{self._bucket}/{top}")
                self._shell.change(
                    "gcloud", "storage", "rsync", "--recursive", "--checksums-only", *folders, self._project
                )
        gone = [f"{self._bucket}/{path}" for path in sorted((known & existing) - files)]
        for start in range(0, len(gone), _REMOVED_AT_ONCE):
            self._shell.change("gcloud", "storage", "rm", *gone[start : start + _REMOVED_AT_ONCE], self._project)
        self._write_record({"commit": source.name, "files": sorted(files), **more})

    def _write_record(self, record: Mapping[str, Any]) -> None:
        _write(ROOT / FOLDER, "record.json", f"{json.dumps(record, indent=2)}\n".encode())
        self._shell.change(
            "gcloud", "storage", "cp", f"{FOLDER}/record.json", f"{self._bucket}/{RECORD}", self._project
        )


def _write(folder: Path, path: str, content: bytes) -> str:
    """Write a file into a folder; return the first part of its path.

    All files have the same time: gcloud would set that of each object anew, although its content is the same.
    """
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    os.utime(file, (_TIME, _TIME))
    return path.partition("/")[0]
