"""The SQL of a refresh: the data team's files, rendered, and what Foreserve puts around them (`sql/`)."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from foreserve.refresh import Refresh
from prediction_store.layout import MAX_ENTITY_ID_BYTES
from refresh_factory.pipeline import Pipeline


class Statements:
    """Renders each statement of a refresh.

    The data team's files see `project`, `dataset` and `model` (the latter two as back-quoted names), and `variables`.
    """

    def __init__(self, folder: Path, pipeline: Pipeline, project: str) -> None:
        """Render the SQL files in `folder`."""
        self._pipeline = pipeline
        self._project = project
        self._files = _templates(folder)
        self._wrappers = _templates(Path(__file__).parent / "sql")

    def train(self, refresh: Refresh) -> str:
        """Train the candidate: the data team's CREATE MODEL."""
        return self._file("train.sql", refresh, refresh.candidate_model)

    def evaluate(self, refresh: Refresh, compare: bool) -> str:  # noqa: FBT001  from a template
        """Evaluate the candidate and, to `compare`, the champion on the same held-out rows."""
        champion = refresh.champion_model if compare else None
        return self._wrap("evaluation.sql", refresh, held_out=self._file("evaluate.sql", refresh), champion=champion)

    def predict(self, refresh: Refresh, model: str | None) -> str:
        """Predict for every entity, with `model` or else the champion."""
        return self._wrap(
            "predictions.sql", refresh, query=self._file("predict.sql", refresh, model or refresh.champion_model)
        )

    def check(self, refresh: Refresh) -> str:
        """Fail unless the predictions can be served."""
        return self._wrap("check.sql", refresh, checks=self._pipeline.checks, max_id_bytes=MAX_ENTITY_ID_BYTES)

    def changes(self, refresh: Refresh, scope: str) -> str:
        """Select what is to be written: `changes` against the served version, or `full`: every prediction."""
        return self._wrap("changes.sql", refresh, scope=scope)

    def _file(self, name: str, refresh: Refresh, model: str | None = None) -> str:
        rendered = self._files.get_template(name).render(
            project=self._project,
            dataset=f"`{refresh.dataset}`",
            model=f"`{model}`",
            variables=self._pipeline.variables,
        )
        return rendered.strip().rstrip(";")

    def _wrap(self, name: str, refresh: Refresh, **values: Any) -> str:
        return self._wrappers.get_template(name).render(refresh=refresh, **values)


def _templates(folder: Path) -> Environment:
    return Environment(  # noqa: S701  SQL, not HTML
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
