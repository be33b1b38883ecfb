"""The SQL of a refresh: the data team's files, rendered, and what Foreserve puts around them (`sql/`)."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from foreserve.refresh import Refresh
from refresh_factory.pipeline import Pipeline

_FACTORY = Path(__file__).parent
_DAGS = _FACTORY.parent


class SqlFiles:
    """The data team's SQL files: Jinja templates that may import one another, and what is in `dags/`.

    They see `project`; `dataset` and `model`, back-quoted (`model` in train.sql and predict.sql only); `cutoff`, the
    TIMESTAMP before which data count for the run; and `variables.NAME`.
    """

    def __init__(self, folder: Path, pipeline: Pipeline, project: str, templates: Environment | None = None) -> None:
        """Render the SQL files in `folder`, through `templates` or else those of the folder."""
        self._pipeline = pipeline
        self._project = project
        self._templates = templates or sql_environment(sql_loader(folder))

    def render(self, name: str, refresh: Refresh, model: str | None = None) -> str:
        """The statement in a file, for one refresh, and one model or none.

        Raises:
            jinja2.TemplateError: a file has a syntax error, is missing, or names what is not defined.
        """
        values = {
            "project": self._project,
            "dataset": f"`{refresh.dataset}`",
            "cutoff": f"TIMESTAMP '{refresh.cutoff}'",
            "variables": SimpleNamespace(**self._pipeline.variables),
        }
        if model is not None:
            values["model"] = f"`{model}`"
        return self._templates.get_template(name).render(values).strip().rstrip(";")


class Statements:
    """Renders each statement of a refresh."""

    def __init__(self, folder: Path, pipeline: Pipeline, project: str) -> None:
        """Render the SQL files in `folder`."""
        self._pipeline = pipeline
        self._files = SqlFiles(folder, pipeline, project)
        self._wrappers = sql_environment(FileSystemLoader(_FACTORY / "sql"))

    def train(self, refresh: Refresh) -> str:
        """Train the candidate: the data team's CREATE MODEL."""
        return self._files.render("train.sql", refresh, refresh.candidate_model)

    def evaluate(self, refresh: Refresh, compare: bool) -> str:  # noqa: FBT001  from a template
        """Evaluate the candidate and, to `compare`, the champion on the same held-out rows."""
        champion = refresh.champion_model if compare else None
        return self._wrap(
            "metrics.sql", refresh, held_out=self._files.render("evaluate.sql", refresh), champion=champion
        )

    def predict(self, refresh: Refresh, model: str | None) -> str:
        """Predict for every entity, with `model` or else the champion."""
        return self._wrap(
            "predictions.sql",
            refresh,
            query=self._files.render("predict.sql", refresh, model or refresh.champion_model),
        )

    def check(self, refresh: Refresh) -> str:
        """Measure what the predictions are judged by."""
        return self._wrap("measures.sql", refresh, checks=self._pipeline.checks)

    def changes(self, refresh: Refresh, scope: str) -> str:
        """Select what is to be written: `changes` against the served version, or `full`: every prediction."""
        return self._wrap("changes.sql", refresh, scope=scope)

    def _wrap(self, name: str, refresh: Refresh, **values: Any) -> str:
        return self._wrappers.get_template(name).render(refresh=refresh, **values)


def sql_loader(folder: Path) -> FileSystemLoader:
    """Finds a pipeline's SQL files: in its folder, then in `dags/`."""
    return FileSystemLoader([folder, _DAGS])


def sql_environment(loader: FileSystemLoader) -> Environment:
    """How SQL files are rendered: what is not defined is an error, and Jinja's lines leave no lines in the SQL."""
    return Environment(  # noqa: S701  SQL, not HTML
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
