"""The files that Airflow gets, at their paths in the bucket of its environment, and the record of a deployment.

Composer copies the bucket's `dags/` to the scheduler, DAG processor, workers and triggerer, where that folder is on the
Python path. Composer copies `plugins/` to the web server; its documents disagree on whether other processes get that
folder too. So the modules that DAG files import are below `dags/`, and those that the web server imports are also below
`plugins/`.

Each package has its own `.airflowignore`: a file of that name at the top would apply to the DAGs of every team.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from deployment.commands import DeploymentError
from deployment.outputs import IMAGE_VARIABLE
from deployment.source import Source

RECORD = "data/foreserve/deployment.json"
"""The path of the record in the bucket."""

_IMAGE_FILE = "dags/refresh_factory/deployed.env"  # read by dags/refresh_factory/environment.py
_FOLDERS = ("dags", "plugins", "prediction_store", "beam_jobs")
_PACKAGES = ("prediction_store", "beam_jobs", "foreserve", "refresh_factory")

# Matches every file of a Python package, as a regular expression (Airflow 2) and as a glob (Airflow 3).
_EVERYTHING = b"[a-z_]*\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files by their path in the bucket.

    Attributes:
        modules: modules that DAG files import.
        pipelines: SQL, YAML and other files that DAG files read.
        dag_files: the files that Airflow parses for DAGs.
    """

    modules: Mapping[str, bytes]
    pipelines: Mapping[str, bytes]
    dag_files: Mapping[str, bytes]

    def paths(self) -> list[str]:
        """Return all paths."""
        return sorted(path for group in self.groups("") for path in group)

    def groups(self, worker_image: str) -> list[Mapping[str, bytes]]:
        """Return the files in upload order: a file is uploaded after those that it needs.

        Args:
            worker_image: the address of the image for Dataflow's workers, which one of the files contains.
        """
        image = f"{IMAGE_VARIABLE}={worker_image}\n".encode()
        return [{**self.modules, _IMAGE_FILE: image}, self.pipelines, self.dag_files]


def bundle(source: Source) -> Bundle:
    """Arrange the files of the working tree as the bucket has them."""
    modules = {f"dags/{package}/.airflowignore": _EVERYTHING for package in _PACKAGES}
    pipelines: dict[str, bytes] = {}
    dag_files: dict[str, bytes] = {}
    for name, content in source.files(*_FOLDERS).items():
        for path in _places(PurePosixPath(name)):
            if path.parts[0] == "plugins" or path.parts[1] in _PACKAGES:
                modules[str(path)] = content
            elif path.suffix == ".py":
                dag_files[str(path)] = content
            else:
                pipelines[str(path)] = content
    return Bundle(modules, pipelines, dag_files)


def _places(path: PurePosixPath) -> list[PurePosixPath]:
    """Return the paths in the bucket of a file of the repository."""
    match path.parts:
        case (_, "Dockerfile") | ("dags", ".airflowignore"):
            return []
        case ("plugins", "foreserve", *_):
            return [path, PurePosixPath("dags", *path.parts[1:])]
        case ("dags" | "plugins", *_):
            return [path]
        case _:
            return ["dags" / path]


class Record(BaseModel):
    """The last deployment. The next one removes only files and variables that the record lists.

    Attributes:
        commit: the commit that was deployed.
        files: paths in the bucket.
        variables: names of environment variables.
    """

    model_config = ConfigDict(frozen=True)

    commit: str = ""
    files: list[str] = []
    variables: list[str] = []

    def to_bytes(self) -> bytes:
        """Return the content of the object at `RECORD`."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def parse_record(text: str, url: str) -> Record:
    """Read the content of the object at `RECORD`.

    Raises:
        DeploymentError: the text is not a record.
    """
    try:
        return Record.model_validate_json(text)
    except ValidationError as error:
        raise DeploymentError(
            f"{url} is not the record of a deployment: {error.errors()[0]['msg']}. Restore it; without it, files of an "
            "earlier deployment cannot be told from those of others"
        ) from None
