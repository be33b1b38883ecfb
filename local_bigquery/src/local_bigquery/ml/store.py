"""Trained models on disk.

The file of a model begins with one line of JSON, its description; the pickled model follows. A model is replaced by
renaming another file over its file, so a reader never gets a mixture of two models.
"""

import json
import pickle
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

import joblib

from local_bigquery.errors import BigQueryError
from local_bigquery.ml.model import TrainedModel
from local_bigquery.sql.statements import ModelPath

Description = dict[str, Any]  # the fields of a model's resource that its training determines

_STAGED = ".staged"
_MAX_FILE_NAME = 255


class ModelStore:
    """Trained models in a directory, one file each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        for left_over in directory.glob(f"*/*/*{_STAGED}"):
            left_over.unlink()

    def stage(self, path: ModelPath, model: TrainedModel, description: Description) -> Path:
        """Write a model to a temporary file for `publish`, and return that file.

        Raises:
            BigQueryError: `invalid` if the name is too long for a file; BigQuery allows longer names.
        """
        target = self._file(path)
        if len(target.name) > _MAX_FILE_NAME:
            raise BigQueryError("invalid", f"The name of model {path} is too long for a file")
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
        """Remove a staged model that was not published."""
        staged.unlink(missing_ok=True)

    def load(self, path: ModelPath) -> TrainedModel | None:
        """Return a model, or None if there is no model of that name.

        Raises:
            BigQueryError: `invalid` if another version of this package wrote the model and it cannot be read.
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
        """Return the description of a model; an empty one if there is no model of that name."""
        try:
            with self._file(path).open("rb") as file:
                description: Description = json.loads(file.readline())
        except (FileNotFoundError, ValueError):
            return {}
        return description

    def remove(self, path: ModelPath) -> None:
        """Delete a model if it exists."""
        self._file(path).unlink(missing_ok=True)

    def _file(self, path: ModelPath) -> Path:
        project, dataset, model = (quote(part, safe="") for part in (path.project, path.dataset, path.model))
        return self._directory / project / dataset / f"{model}.joblib"
