"""The SQL statements of a refresh: the data team's files, rendered, inside the statements of `sql/`."""

import re
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from foreserve.refresh import Refresh
from refresh_factory.pipeline import Pipeline

_FACTORY = Path(__file__).parent
_DAGS = _FACTORY.parent


class SqlFiles:
    """The data team's SQL files: Jinja templates, which may import one another and files in `dags/`.

    They see `project`; `dataset` and `model`, in back quotes (`model` in train.sql and predict.sql only); `cutoff`, the
    TIMESTAMP before which data count for the refresh; and `variables.NAME`.
    """

    def __init__(self, folder: Path, pipeline: Pipeline, project: str, templates: Environment | None = None) -> None:
        """Prepare the files.

        Args:
            folder: the pipeline's folder.
            pipeline: the pipeline.
            project: the project of BigQuery.
            templates: the Jinja environment; None: one that finds the files in `folder` and `dags/`.
        """
        self._pipeline = pipeline
        self._project = project
        self._templates = templates or sql_environment(sql_loader(folder))

    def render(self, name: str, refresh: Refresh, model: str | None = None) -> str:
        """The statement in a file.

        Args:
            name: the file's name.
            refresh: the refresh.
            model: the BigQuery model; None: the file must not use one.

        Raises:
            jinja2.TemplateError: a file is missing, has a syntax error, or uses a name that is not defined.
        """
        values = {
            "project": self._project,
            "dataset": f"`{refresh.dataset}`",
            "cutoff": f"TIMESTAMP '{refresh.cutoff}'",
            "variables": SimpleNamespace(**self._pipeline.variables),
        }
        if model is not None:
            values["model"] = f"`{model}`"
        return self._templates.get_template(name).render(values).strip()


class Statements:
    """The statements of a pipeline's refreshes."""

    def __init__(self, folder: Path, pipeline: Pipeline, project: str) -> None:
        """Prepare the statements of the pipeline in `folder`, for `project`."""
        self._pipeline = pipeline
        self._files = SqlFiles(folder, pipeline, project)
        self._wrappers = sql_environment(FileSystemLoader(_FACTORY / "sql"))

    def train(self, refresh: Refresh) -> str:
        """Train the candidate: the data team's CREATE MODEL."""
        return without_semicolon(self._files.render("train.sql", refresh, refresh.candidate_model))

    def evaluate(self, refresh: Refresh, *, compare: bool) -> str:
        """Evaluate the candidate. With `compare`, also evaluate the champion, on the same held-out rows."""
        champion = refresh.champion_model if compare else None
        held_out = without_semicolon(self._files.render("evaluate.sql", refresh))
        return self._wrap("metrics.sql", refresh, held_out=held_out, champion=champion)

    def predict(self, refresh: Refresh, model: str | None) -> str:
        """Predict for every entity, with the BigQuery model `model`; None: with the champion."""
        query = self._files.render("predict.sql", refresh, model or refresh.champion_model)
        return self._wrap("predictions.sql", refresh, query=without_semicolon(query))

    def measure(self, refresh: Refresh, fields: Mapping[str, str]) -> str:
        """Measure the predictions for the prediction gate. `fields` has the JSONPath of each field of a prediction."""
        return self._wrap("measures.sql", refresh, gate=self._pipeline.prediction_gate, fields=fields)

    def changes(self, refresh: Refresh, scope: str) -> str:
        """Select the rows to write: those that differ from the active version (`changes`), or all (`full`)."""
        return self._wrap("changes.sql", refresh, scope=scope)

    def _wrap(self, name: str, refresh: Refresh, **values: Any) -> str:
        return self._wrappers.get_template(name).render(refresh=refresh, **values)


_PIECE = re.compile(
    r"""
    (?P<blank> \s+ | --[^\n]* | \#[^\n]* | /\*.*?\*/ )
    | (?P<semicolon> ; )
    | '''(?:\\.|[^\\])*?''' | \"\"\"(?:\\.|[^\\])*?\"\"\"
    | '(?:\\.|[^\\'])*' | "(?:\\.|[^\\"])*" | `(?:\\.|[^\\`])*`
    | .
    """,
    re.DOTALL | re.VERBOSE,
)
"""A piece of SQL: a comment or space, a semicolon, a string or quoted name, or any other character.

Source: https://cloud.google.com/bigquery/docs/reference/standard-sql/lexical
"""


def without_semicolon(sql: str) -> str:
    """The statement without the semicolons at its end, also if comments follow them."""
    semicolons: list[int] = []
    for piece in _PIECE.finditer(sql):
        if piece["semicolon"]:
            semicolons.append(piece.start())
        elif not piece["blank"]:
            semicolons = []
    for position in reversed(semicolons):
        sql = sql[:position] + sql[position + 1 :]
    return sql


def sql_loader(folder: Path) -> FileSystemLoader:
    """The loader of a pipeline's SQL files. It looks in `folder`, then in `dags/`."""
    return FileSystemLoader([folder, _DAGS])


def sql_environment(loader: FileSystemLoader) -> Environment:
    """The Jinja environment of SQL files. An undefined name is an error; lines with only Jinja leave no empty lines."""
    return Environment(  # noqa: S701  SQL, not HTML
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
