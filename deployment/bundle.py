"""What Airflow gets, as it lies in the bucket of its environment.

Composer copies the bucket's `dags/` to scheduler, DAG processor, workers and triggerer, and Airflow puts that folder on
the Python path. It copies `plugins/` to the web server; whether to the others too, its documents disagree. So what DAG
files import lies below `dags/`, and what the web server imports, below `plugins/` as well.

Each package has an `.airflowignore` of its own: a file of that name at the top would be every team's.
"""

from dataclasses import dataclass, field
from pathlib import PurePosixPath

from deployment.outputs import IMAGE_VARIABLE
from deployment.source import Source

FOLDERS = ("dags", "plugins", "prediction_store", "beam_jobs")
"""Folders of the repository."""

IMAGE_FILE = "dags/refresh_factory/deployed.env"
"""Where dags/refresh_factory/environment.py looks for the image of Dataflow's workers."""

PACKAGES = ("prediction_store", "beam_jobs", "foreserve", "refresh_factory")

# As a regular expression (Airflow 2) and as a glob (Airflow 3): every file of a Python package.
_EVERYTHING = b"[a-z_]*\n"


@dataclass(frozen=True, slots=True)
class Bundle:
    """Files by their path in the bucket, in the order in which they have to get there.

    Attributes:
        modules: what DAG files import, and which of it is which image.
        pipelines: SQL, YAML and other files that DAG files read.
        dag_files: what Airflow parses.
    """

    modules: dict[str, bytes] = field(default_factory=dict)
    pipelines: dict[str, bytes] = field(default_factory=dict)
    dag_files: dict[str, bytes] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """All of them."""
        return self.modules | self.pipelines | self.dag_files


def bundle(source: Source, worker_image: str) -> Bundle:
    """Lay the files out.

    Args:
        source: where they are.
        worker_image: the image of Dataflow's workers.
    """
    result = Bundle()
    for name, content in source.files(*FOLDERS).items():
        for path in _places(PurePosixPath(name)):
            if path.parts[0] == "plugins" or path.parts[1] in PACKAGES:
                result.modules[str(path)] = content
            elif path.suffix == ".py":
                result.dag_files[str(path)] = content
            else:
                result.pipelines[str(path)] = content
    result.modules.update({f"dags/{package}/.airflowignore": _EVERYTHING for package in PACKAGES})
    result.modules[IMAGE_FILE] = f"{IMAGE_VARIABLE}={worker_image}\n".encode()
    return result


def _places(path: PurePosixPath) -> list[PurePosixPath]:
    """Where a file of the repository lies in the bucket."""
    match path.parts:
        case (_, "Dockerfile") | ("dags", ".airflowignore"):
            return []
        case ("plugins", "foreserve", *_):
            return [path, PurePosixPath("dags", *path.parts[1:])]
        case ("dags" | "plugins", *_):
            return [path]
        case _:
            return ["dags" / path]
