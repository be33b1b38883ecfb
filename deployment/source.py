"""The files of a commit, or of the working tree: the contexts of images, and the files that Airflow gets.

Composer copies the bucket's `dags/` to the scheduler, DAG processor, workers and triggerer, where that folder is on the
Python path. Composer copies `plugins/` to the web server; its documents disagree on whether other processes get that
folder too. So the modules that DAG files import are below `dags/`, and those that the web server imports are also below
`plugins/`. Each package has its own `.airflowignore`: one at the top would apply to the DAGs of every team.
"""

import hashlib
import io
import os
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from deployment.shell import DeploymentError, Shell

IMAGE_FILE = "dags/refresh_factory/deployed.env"
"""Names the image of Dataflow's workers; dags/refresh_factory/environment.py reads it."""

_AIRFLOW = ("dags", "plugins", "prediction_store", "beam_jobs")
_PACKAGES = ("prediction_store", "beam_jobs", "foreserve", "refresh_factory")
_EVERYTHING = b"[a-z_]*\n"  # as a regular expression (Airflow 2) and as a glob (Airflow 3)
_SHOWN = 5


class Source:
    """A tree of files in git.

    Args:
        shell: runs git.
        commit: the commit; empty: the working tree with its uncommitted changes.

    Attributes:
        name: the commit, with the suffix -dirty if files differ from it.
        changed: the files that differ.
    """

    def __init__(self, shell: Shell, commit: str = "") -> None:
        self._shell = shell
        self.changed: list[str] = []
        try:
            self.name = self._git("rev-parse", "--short=12", f"{commit or 'HEAD'}^{{commit}}").strip()
        except DeploymentError as error:
            raise DeploymentError(f"this clone has no commit {commit or 'HEAD'}; fetch it. {error}") from None
        self._tree = self.name
        if not commit:
            status = self._git("status", "--porcelain", "-z", "--untracked-files=all", "--no-renames")
            self.changed = [line[3:] for line in status.split("\0") if line]
        if self.changed:
            with tempfile.TemporaryDirectory() as folder:
                index = {**os.environ, "GIT_INDEX_FILE": f"{folder}/index"}
                self._git("read-tree", "HEAD", env=index)
                self._git("add", "--all", env=index)
                self._tree = self._git("write-tree", env=index).strip()
            self.name += "-dirty"

    def require_clean(self) -> None:
        """Raise DeploymentError if files differ from the commit."""
        if self.changed:
            shown = ", ".join(self.changed[:_SHOWN]) + (", ..." if len(self.changed) > _SHOWN else "")
            raise DeploymentError(
                f"{len(self.changed)} files differ from commit {self.name.partition('-')[0]}: {shown}. Commit them, or "
                "deploy them as they are with DIRTY=1"
            )

    def tag(self, *paths: str) -> str:
        """Return a digest of the content of some paths. It is the same in every clone."""
        return hashlib.sha256(self._git("ls-tree", self._tree, "--", *paths).encode()).hexdigest()[:12]

    def extract(self, folder: Path) -> None:
        """Write the files that images and Airflow get into a folder."""
        paths = [*_AIRFLOW, "serving_api", ".dockerignore"]
        archive = self._shell.output("git", "archive", "--format=tar", self._tree, *paths)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(folder, filter="data")

    def _git(self, *arguments: str, **options: object) -> str:
        return str(self._shell.output("git", *arguments, text=True, **options))


def bundle(tree: Path, worker_image: str) -> list[dict[str, bytes]]:
    """Return files by their path in the bucket, in three groups in upload order: modules, SQL and YAML, DAG files.

    Args:
        tree: a folder with the files of the repository.
        worker_image: the address of the image for Dataflow's workers.
    """
    modules = {f"dags/{package}/.airflowignore": _EVERYTHING for package in _PACKAGES}
    modules[IMAGE_FILE] = f"FORESERVE_DATAFLOW_SDK_CONTAINER_IMAGE={worker_image}\n".encode()
    pipelines: dict[str, bytes] = {}
    dag_files: dict[str, bytes] = {}
    for file in sorted(path for folder in _AIRFLOW for path in (tree / folder).rglob("*") if path.is_file()):
        for path in _places(PurePosixPath(file.relative_to(tree).as_posix())):
            if path.parts[0] == "plugins" or path.parts[1] in _PACKAGES:
                modules[str(path)] = file.read_bytes()
            else:
                (dag_files if path.suffix == ".py" else pipelines)[str(path)] = file.read_bytes()
    return [modules, pipelines, dag_files]


def _places(path: PurePosixPath) -> list[PurePosixPath]:
    """Return the paths in the bucket of a file of the repository."""
    match path.parts:
        case (_, "Dockerfile") | ("dags", ".airflowignore"):
            return []
        case ("plugins", "foreserve", *_):
            return [path, PurePosixPath("dags", *path.parts[1:])]
        case ("dags" | "plugins", *_):
            return [path]
    return ["dags" / path]
