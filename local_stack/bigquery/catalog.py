"""Trained models on disk.

That a model exists, and what the REST API says of it, is the emulator's business; this holds what predicts.
A model is replaced by renaming one file over another, so a reader gets the old one or the new one, never a mixture.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from urllib.parse import quote

import joblib

from local_stack.bigquery.models import Model
from local_stack.bigquery.statements import ModelPath


class ModelCatalog:
    """Trained models under a directory, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def stage(self, path: ModelPath, model: Model) -> Path:
        """Write a model to a file that `publish` puts in place; return the file."""
        target = self._file(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_suffix(f".{uuid.uuid4().hex}")
        joblib.dump(model, staged)
        return staged

    def publish(self, path: ModelPath, staged: Path) -> None:
        """Make a staged model the one that `load` returns."""
        staged.replace(self._file(path))

    def load(self, path: ModelPath) -> Model | None:
        """Return a model, or None if there is none of that name."""
        try:
            model: Model = joblib.load(self._file(path))
        except FileNotFoundError:
            return None
        return model

    def remove(self, path: ModelPath) -> None:
        """Delete a model, if it is there."""
        self._file(path).unlink(missing_ok=True)

    def _file(self, path: ModelPath) -> Path:
        project, dataset, model = (quote(part, safe="") for part in (path.project, path.dataset, path.model))
        return self._directory / project / dataset / f"{model}.joblib"
