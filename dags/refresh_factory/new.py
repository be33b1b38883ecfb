"""Make a pipeline from the template: `python -m refresh_factory.new NAME`."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from refresh_factory.pipeline import PIPELINE_FILE, PIPELINES, Name

_TEMPLATE = Path(__file__).parent / "template"
_PLACEHOLDER = "pipeline_name"


class NewPipelineError(Exception):
    """A name that no new pipeline can have."""


def new_pipeline(name: str, pipelines: Path = PIPELINES) -> Path:
    """Make the folder of a pipeline that runs as it is; return the folder.

    Args:
        name: the name of the model and of the folder.
        pipelines: the parent folder.

    Raises:
        NewPipelineError: the name cannot be used, or is taken. Nothing was made.
    """
    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError:
        raise NewPipelineError(
            f"{name!r} cannot name a pipeline: use lower-case letters, digits and _, such as big_spender"
        ) from None
    folder = pipelines / name
    if folder.exists():
        raise NewPipelineError(f"{os.path.relpath(folder)} is there already; choose another name, or remove it")
    shutil.copytree(_TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / PIPELINE_FILE
    file.write_text(file.read_text().replace(_PLACEHOLDER, name))
    return folder


def main() -> int:
    """Make a pipeline, and print the next steps; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m refresh_factory.new", description=__doc__)
    parser.add_argument("name", help="the pipeline's name, such as big_spender")
    name: str = parser.parse_args().name
    try:
        folder = Path(os.path.relpath(new_pipeline(name)))
    except NewPipelineError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    sys.stdout.write(
        f"made {folder}: {files}\n"
        "It runs as it is, on the purchases of the local stack. Next:\n"
        f"  edit         {folder / PIPELINE_FILE} and the SQL files (docs/pipelines.md)\n"
        "  check        make check-pipelines\n"
        f"  run          make up, then trigger refresh_{name} in Airflow (it is there within a minute or so)\n"
        f"  look up      /v1/models/{name}/predictions/00003 of the lookup service\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
