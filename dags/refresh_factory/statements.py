"""The SQL of a refresh: the data team's files, rendered, and what Foreserve puts around them (`sql/`)."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from foreserve.refresh import Refresh
from prediction_store.layout import MAX_ENTITY_ID_BYTES
from refresh_factory.pipeline import Pipeline


class Statements:
    """Renders each statement of a refresh.

    Methods take the XCom of `OpenVersion`, so that Airflow's templates can call them. The data team's files see
    `project`, `dataset` and `model` (the latter two as back-quoted names), and `variables`.
    """

    def __init__(self, folder: Path, pipeline: Pipeline, project: str) -> None:
        """Render the SQL files in `folder`."""
        self._pipeline = pipeline
        self._project = project
        self._files = _templates(folder)
        self._wrappers = _templates(Path(__file__).parent / "sql")

    def train(self, refresh: dict[str, Any]) -> str:
        """Train the candidate: the data team's CREATE MODEL."""
        current = Refresh.from_xcom(refresh)
        return self._file("train.sql", current, current.candidate_model)

    def evaluate(self, refresh: dict[str, Any]) -> str:
        """Evaluate the candidate and the champion on the same held-out rows."""
        current = Refresh.from_xcom(refresh)
        return self._wrap("evaluation.sql", current, held_out=self._file("evaluate.sql", current))

    def predict(self, refresh: dict[str, Any], model: str | None) -> str:
        """Predict for every entity, with `model` or else the champion."""
        current = Refresh.from_xcom(refresh)
        return self._wrap(
            "predictions.sql", current, query=self._file("predict.sql", current, model or current.champion_model)
        )

    def check(self, refresh: dict[str, Any]) -> str:
        """Fail unless the predictions can be served."""
        return self._wrap(
            "check.sql", Refresh.from_xcom(refresh), checks=self._pipeline.checks, max_id_bytes=MAX_ENTITY_ID_BYTES
        )

    def changes(self, refresh: dict[str, Any], scope: str) -> str:
        """Select what is to be written: `changes` against the served version, or `full`: every prediction."""
        return self._wrap("changes.sql", Refresh.from_xcom(refresh), scope=scope)

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
