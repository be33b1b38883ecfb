"""Make a pipeline, from the template or for a table: `python -m refresh_factory.new NAME [--table ...]`."""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from pydantic import TypeAdapter, ValidationError

from prediction_store.local_environment import use_local_stack
from refresh_factory.from_table import TableError, files_from_table
from refresh_factory.pipeline import PIPELINE_FILE, PIPELINES, Name

_TEMPLATE = Path(__file__).parent / "template"
_PLACEHOLDER = "pipeline_name"


class NewPipelineError(Exception):
    """A name that no new pipeline can have."""


def new_pipeline(name: str, pipelines: Path = PIPELINES, files: Mapping[str, str] | None = None) -> Path:
    """Make the folder of a pipeline that runs as it is; return the folder.

    Args:
        name: the name of the model and of the folder.
        pipelines: the parent folder.
        files: the content of the files beside dag.py, by name; None: those of the template.

    Raises:
        NewPipelineError: the name cannot be used, or is taken. Nothing was made.
    """
    folder = _free_folder(name, pipelines)
    if files is not None:
        folder.mkdir()
        shutil.copy(_TEMPLATE / "dag.py", folder)
        for file_name, text in files.items():
            (folder / file_name).write_text(text)
        return folder
    shutil.copytree(_TEMPLATE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in folder.glob("*.yaml"):
        file.write_text(file.read_text().replace(_PLACEHOLDER, name))
    return folder


def _free_folder(name: str, pipelines: Path) -> Path:
    """The folder of a new pipeline, which does not exist.

    Raises:
        NewPipelineError: the name cannot be used, or is taken.
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
    return folder


def main() -> int:
    """Make a pipeline, and print the next steps; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m refresh_factory.new", description=__doc__)
    parser.add_argument("name", help="the pipeline's name, such as big_spender")
    parser.add_argument("--table", help="DATASET.TABLE with one row per entity, to write the SQL for")
    parser.add_argument("--id", help="its column of entity ids")
    parser.add_argument("--label", help="its column to predict")
    parser.add_argument("--explain", type=int, default=0, help="number of features by which a prediction is explained")
    arguments = parser.parse_args()
    name: str = arguments.name
    wanted = (arguments.table, arguments.id, arguments.label, arguments.explain)
    try:
        _free_folder(name, PIPELINES)
        written = _from_table(name, *wanted) if any(wanted) else None
        folder = Path(os.path.relpath(new_pipeline(name, files=written)))
    except (NewPipelineError, TableError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    files = ", ".join(sorted(path.name for path in folder.iterdir()))
    sys.stdout.write(
        f"made {folder}: {files}\n"
        f"It runs as it is, on {arguments.table or 'the purchases of the local stack'}. Next:\n"
        f"  edit         {folder / PIPELINE_FILE} and the SQL files (docs/pipelines.md)\n"
        "  check        make check-pipelines\n"
        f"  run          make up, then make refresh NAME={name} (Airflow has it within a minute or so)\n"
        f"  look up      /v1/models/{name}/predictions/{'ID' if written else '00003'} of the lookup service\n"
    )
    return 0


def _from_table(name: str, table: str | None, id_column: str | None, label: str | None, explain: int) -> dict[str, str]:
    """The files of a pipeline for a table in the BigQuery of the local stack, or of `FORESERVE_PROJECT`.

    Raises:
        TableError: one of the three is not given, or the table cannot be used.
    """
    if not (table and id_column and label):
        raise TableError("give all three: TABLE=dataset.table ID=column LABEL=column; EXPLAIN=3 is for a table, too")
    if not os.environ.get("FORESERVE_PROJECT") and not use_local_stack(Path.cwd()):
        raise TableError("no local stack runs here, and FORESERVE_PROJECT is not set; run make up first")
    project, is_local = os.environ["FORESERVE_PROJECT"], "BIGQUERY_EMULATOR_HOST" in os.environ
    client = bigquery.Client(project, credentials=AnonymousCredentials() if is_local else None)
    return files_from_table(client, name, table, id_column, label, explain)


if __name__ == "__main__":
    sys.exit(main())
