"""The repository's working tree: its files, its commit, and the images that are built from it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deployment.commands import CommandError, DeploymentError, Runner

_DIGITS = 12
_PATHS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Image:
    """A container image.

    Attributes:
        name: the name in the repository of images.
        tag: a digest of the files that the image is built from.
        dockerfile: the path of the Dockerfile.
        arguments: the build arguments.
    """

    name: str
    tag: str
    dockerfile: str
    arguments: dict[str, str]


class Source:
    """The working tree.

    Args:
        root: the folder of the repository.
        runner: runs git.

    Raises:
        DeploymentError: the folder is not a git repository with a commit.
    """

    def __init__(self, root: Path, runner: Runner) -> None:
        self.root = root
        self._runner = runner
        try:
            self.commit = self._git("rev-parse", f"--short={_DIGITS}", "HEAD").strip()
        except CommandError as error:
            raise DeploymentError(f"{root} has no git commit to name the deployment after:\n{error}") from error
        status = self._git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
        self.changed = [line[3:] for line in status.split("\0") if line]

    @property
    def name(self) -> str:
        """The commit, with the suffix -dirty if files differ from it."""
        return f"{self.commit}-dirty" if self.changed else self.commit

    def require_clean(self) -> None:
        """Refuse a tree with uncommitted changes.

        Raises:
            DeploymentError: files differ from the commit.
        """
        if self.changed:
            shown = ", ".join(self.changed[:_PATHS_SHOWN]) + (", ..." if len(self.changed) > _PATHS_SHOWN else "")
            raise DeploymentError(
                f"{len(self.changed)} files differ from commit {self.commit}: {shown}. Commit them, or deploy them as "
                "they are with DIRTY=1"
            )

    def files(self, *paths: str) -> dict[str, bytes]:
        """Return the content of all files below some paths, without those that git ignores."""
        names = self._git("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths).split("\0")
        return {name: (self.root / name).read_bytes() for name in sorted(set(names)) if (self.root / name).is_file()}

    def lookup_image(self) -> Image:
        """Return the image of the lookup service."""
        tag = self._tag(["serving_api", "prediction_store", ".dockerignore"])
        return Image("serving-api", tag, "serving_api/Dockerfile", {"BUILD": self.name})

    def worker_image(self, beam_version: str) -> Image:
        """Return the image of Dataflow's workers.

        Args:
            beam_version: the version of `apache-beam` in the Airflow environment. The workers must have the version
                that launches the jobs.
        """
        tag = self._tag(["beam_jobs", "prediction_store", ".dockerignore"])
        name = f"{tag}-beam-{beam_version}"
        return Image("beam-jobs", name, "beam_jobs/Dockerfile", {"BEAM_VERSION": beam_version})

    def _tag(self, paths: Sequence[str]) -> str:
        """Return a digest of the files below some paths. It is the same in every clone."""
        digest = hashlib.sha256()
        for name, content in self.files(*paths).items():
            digest.update(f"{name} {len(content)}\n".encode() + content)
        return digest.hexdigest()[:_DIGITS]

    def _git(self, *arguments: str) -> str:
        return self._runner.output("git", *arguments)
