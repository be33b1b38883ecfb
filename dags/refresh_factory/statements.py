"""The SQL statements of a refresh: the data team's files, rendered, inside the statements of `sql/`."""

import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateSyntaxError

from foreserve.refresh import Refresh, StatementError
from prediction_store.lifecycle import ServedInterval
from refresh_factory.pipeline import OUTCOMES_FILE, Pipeline, Problem

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

    def __init__(self, folder: Path, pipeline: Pipeline, project: str, dataset: str = "foreserve") -> None:
        """Prepare the statements of the pipeline in `folder`, for `project` and the dataset of the refreshes.

        The methods that render the pipeline's files raise a StatementError if a file is not a template that fits the
        pipeline. Its message begins with the file and the line.
        """
        self._pipeline = pipeline
        self._folder = folder
        self._project = project
        self._dataset = f"{project}.{dataset}"
        self._files = SqlFiles(folder, pipeline, project)
        self._wrappers = sql_environment(FileSystemLoader(_FACTORY / "sql"))

    def train(self, refresh: Refresh) -> str:
        """Train the candidate: the data team's CREATE MODEL."""
        return self._render("train.sql", refresh, refresh.candidate_model)

    def evaluate(self, refresh: Refresh, *, compare: bool) -> str:
        """Evaluate the candidate. With `compare`, also evaluate the champion, on the same held-out rows."""
        champion = refresh.champion_model if compare else None
        held_out = self._render("evaluate.sql", refresh)
        return self._wrap("metrics.sql", refresh, held_out=held_out, champion=champion)

    def predict(self, refresh: Refresh, model: str | None) -> str:
        """Predict for every entity, with the BigQuery model `model`; None: with the champion."""
        query = self._render("predict.sql", refresh, model or refresh.champion_model)
        return self._wrap("predictions.sql", refresh, query=query)

    def measure(self, refresh: Refresh, fields: Mapping[str, str]) -> str:
        """Measure the predictions for the prediction gate. `fields` has the JSONPath of each field of a prediction."""
        return self._wrap("measures.sql", refresh, gate=self._pipeline.prediction_gate, fields=fields)

    def changes(self, refresh: Refresh, scope: str) -> str:
        """Select the rows to write: those that differ from the active version (`changes`), or all (`full`)."""
        return self._wrap("changes.sql", refresh, scope=scope)

    def outcomes(self, cutoff: str) -> str:
        """The query of `outcomes.sql`, with a data cutoff in ISO 8601."""
        return self._render(OUTCOMES_FILE, Refresh(self._pipeline.model, 1, self._dataset, cutoff=cutoff))

    def live_metrics(
        self,
        cutoff: str,
        table: str,
        served: Sequence[ServedInterval],
        predictions: Mapping[int, str],
        *,
        is_classification: bool,
    ) -> str:
        """Write the live metrics of the versions that readers had.

        Args:
            cutoff: the data cutoff (ISO 8601), which is also the time of the measurement.
            table: the table for the metrics, as PROJECT.DATASET.NAME.
            served: the times in which readers had versions.
            predictions: the table of predictions by version, for each version of `served`.
            is_classification: True if an outcome is a BOOL, False if it is a number.
        """
        field = self._pipeline.outcomes.field if self._pipeline.outcomes else None
        return self._wrappers.get_template("live_metrics.sql").render(
            query=self.outcomes(cutoff),
            measured_at=f"TIMESTAMP '{cutoff}'",
            table=table,
            served=served,
            tables=predictions,
            path=f"$.{field}" if field else "$",
            is_classification=is_classification,
        )

    def locate(self, name: str, refresh: Refresh, model: str | None, sql: str, message: str) -> str:
        """The file and the line of an error in a statement, as FILE:LINE; the file alone if the line is not known.

        Args:
            name: the pipeline's file from which the statement was made.
            refresh: the refresh.
            model: the BigQuery model of the file; None: that of the champion, if the file uses one.
            sql: the statement.
            message: BigQuery's message, which has the position as `[LINE:COLUMN]`, or the name that it is about.
        """
        from refresh_factory.templates import Templates  # noqa: PLC0415  which imports this module

        model = model or (refresh.champion_model if name == "predict.sql" else None)
        rendered = Templates(self._folder, self._pipeline, self._project).render(name, refresh, model)
        offset = _offset_of_error(sql, message)
        if isinstance(rendered, Problem) or offset is None:
            return _shown(self._folder / name)
        text = without_semicolon(rendered.sql.strip())
        begin = sql.find(text)
        if not 0 <= begin <= offset < begin + len(text):
            return _shown(self._folder / name)
        spaces = len(rendered.sql) - len(rendered.sql.lstrip())
        file, line = rendered.place(offset - begin + spaces)
        return f"{_shown(file)}:{line}"

    def _render(self, name: str, refresh: Refresh, model: str | None = None) -> str:
        try:
            return without_semicolon(self._files.render(name, refresh, model))
        except Exception as error:  # an expression in a template may raise any
            # Jinja puts the lines of templates into the traceback, but not that of a syntax error.
            frames = traceback.extract_tb(error.__traceback__)
            places = [(frame.filename, frame.lineno) for frame in frames if frame.filename.endswith(".sql")]
            if isinstance(error, TemplateSyntaxError):
                places.append((error.filename or str(self._folder / name), error.lineno))
            file, line = places[-1] if places else (str(self._folder / name), 1)
            raise StatementError(f"{_shown(Path(file))}:{line}: {error}") from error

    def _wrap(self, name: str, refresh: Refresh, **values: Any) -> str:
        return self._wrappers.get_template(name).render(refresh=refresh, **values)


_POSITION = re.compile(r"\[(\d+):(\d+)\]")
_NAMED = re.compile(r"""(?:Table|Model|Dataset|name:|not found:) `?([\w.:-]+)|["'`]([\w.:-]+)["'`]""")


def _offset_of_error(sql: str, message: str) -> int | None:
    """The offset in a statement of what BigQuery's message is about; None if it is not known."""
    if position := _POSITION.search(message):
        line, column = int(position[1]), int(position[2])
        return sum(len(text) for text in sql.splitlines(keepends=True)[: line - 1]) + column - 1
    for found in _NAMED.finditer(message):
        name = re.split(r"[.:]", found[1] or found[2])[-1]
        if name and (place := re.search(rf"\b{re.escape(name)}\b", sql)):
            return place.start()
    return None


def _shown(file: Path) -> str:
    """A file as messages show it: by its path in `dags/`."""
    return str(file.relative_to(_DAGS) if file.is_relative_to(_DAGS) else file.name)


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


def without_comments(sql: str) -> str:
    """The statement with one space in place of each comment and each run of spaces."""
    return "".join(" " if piece["blank"] else piece[0] for piece in _PIECE.finditer(sql))


def sql_loader(folder: Path) -> FileSystemLoader:
    """The loader of a pipeline's SQL files. It looks in `folder`, then in `dags/`."""
    return FileSystemLoader([folder, _DAGS])


def sql_environment(loader: FileSystemLoader) -> Environment:
    """The Jinja environment of SQL files. An undefined name is an error; lines with only Jinja leave no empty lines."""
    return Environment(  # noqa: S701  SQL, not HTML
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
