"""Trained models on disk.

A model is one file: a line of JSON that says of it what training has found out, then the model. A model is replaced by
renaming one file over another, so a reader gets the old one or the new one, never a mixture.
"""

import json
import pickle
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import joblib

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.model_types import TrainedModel
from local_bigquery.sql.statements import ModelPath

Description = dict[str, Any]

_STAGED = ".staged"
_LONGEST_FILE_NAME = 255


class ModelCatalog:
    """Trained models under a directory, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for left_over in directory.glob(f"*/*/*{_STAGED}"):
            left_over.unlink()

    def stage(self, path: ModelPath, model: TrainedModel, description: Description) -> Path:
        """Write a model to a file that `publish` puts in place; return the file.

        Raises:
            BigQueryError: If its name is too long for a file, which is less than BigQuery allows.
        """
        target = self._file(path)
        if len(target.name) > _LONGEST_FILE_NAME:
            raise BigQueryError("invalid", f"The name of model {path} is too long to be kept in a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f"{uuid.uuid4().hex}{_STAGED}")
        with staged.open("wb") as file:
            file.write(json.dumps(description).encode() + b"\n")
            joblib.dump(model, file)
        return staged

    def publish(self, path: ModelPath, staged: Path) -> None:
        """Make a staged model the one that `load` returns."""
        staged.replace(self._file(path))

    def discard(self, staged: Path) -> None:
        """Remove a staged model that has not been published."""
        staged.unlink(missing_ok=True)

    def load(self, path: ModelPath) -> TrainedModel | None:
        """Return a model, or None if there is none of that name.

        Raises:
            BigQueryError: If it was written by code that has changed since.
        """
        try:
            with self._file(path).open("rb") as file:
                file.readline()
                model: TrainedModel = joblib.load(file)
        except FileNotFoundError:
            return None
        except (AttributeError, EOFError, ImportError, TypeError, ValueError, pickle.UnpicklingError) as error:
            message = f"Model {path} was trained by another version of the local BigQuery: train it again ({error})"
            raise BigQueryError("invalid", message) from error
        return model

    def describe(self, path: ModelPath) -> Description:
        """Return what training has found out about a model; nothing, if there is none of that name."""
        try:
            with self._file(path).open("rb") as file:
                description: Description = json.loads(file.readline())
        except (FileNotFoundError, ValueError):
            return {}
        return description

    def remove(self, path: ModelPath) -> None:
        """Delete a model, if it is there."""
        self._file(path).unlink(missing_ok=True)

    def _file(self, path: ModelPath) -> Path:
        project, dataset, model = (quote(part, safe="") for part in (path.project, path.dataset, path.model))
        return self._directory / project / dataset / f"{model}.joblib"
