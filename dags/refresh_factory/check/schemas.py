"""The recorded columns of the tables that a pipeline reads, so that its SQL is analysed without BigQuery.

`schemas.yaml` lies in the pipeline's folder. Tables of the project of the refreshes are named DATASET.TABLE.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from local_bigquery.analyzer import GoogleSqlError, Type, type_of
from refresh_factory.pipeline import Problem
from refresh_factory.yaml_file import YamlFile

SCHEMAS_FILE = "schemas.yaml"

_HEADER = "# The columns of the tables that the SQL files read. Record them anew: make record-schemas NAME={}\n"


@dataclass(frozen=True)
class Schemas:
    """The recorded tables.

    Attributes:
        tables: the columns of each table, by PROJECT.DATASET.TABLE.
        problems: the mistakes in the file.
    """

    tables: Mapping[str, Mapping[str, Type]]
    problems: list[Problem] = field(default_factory=list)


def read_schemas(folder: Path, project: str) -> Schemas | None:
    """Read the recorded columns of a pipeline's tables; None if none were recorded.

    Args:
        folder: the pipeline's folder.
        project: the project of tables without one.
    """
    path = folder / SCHEMAS_FILE
    if not path.is_file():
        return None
    try:
        file = YamlFile(path)
        content = file.content() or {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        return Schemas({}, [Problem(path, line, f"not YAML: {error.problem}")])
    tables: dict[str, dict[str, Type]] = {}
    problems = []
    for table, columns in content.items():
        parts = str(table).split(".")
        if len(parts) not in (2, 3) or not isinstance(columns, dict):
            problems.append(
                Problem(path, file.line((table,)), f"{table}: expected DATASET.TABLE with columns and types")
            )
            continue
        tables[".".join(parts if len(parts) == 3 else [project, *parts])] = kinds = {}  # noqa: PLR2004  the project too
        for column, kind in columns.items():
            try:
                kinds[column] = type_of(str(kind))
            except GoogleSqlError as error:
                problems.append(Problem(path, file.line((table, column)), f"{column}: {kind}: {error}"))
    return Schemas(tables, problems)


def write_schemas(folder: Path, tables: Mapping[str, Mapping[str, str]]) -> Path:
    """Record the columns of tables; return the file.

    Args:
        folder: the pipeline's folder.
        tables: the type of each column, by DATASET.TABLE or PROJECT.DATASET.TABLE and by name.
    """
    path = folder / SCHEMAS_FILE
    content = {name: dict(columns) for name, columns in sorted(tables.items())}
    path.write_text(_HEADER.format(folder.name) + yaml.safe_dump(content, sort_keys=False, width=1_000))
    return path
