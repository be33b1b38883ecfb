"""The models of all datasets, each with a record in the emulator and a file in the model store.

The emulator records the models that exist, deletes those of a deleted dataset, and keeps the fields that clients may
change, such as description and labels. The model store keeps the results of training. Each operation holds the
emulator's lock, so that readers never see a new record with an old file or the reverse.

https://cloud.google.com/bigquery/docs/reference/rest/v2/models
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_bigquery.backend.emulator import Emulator, JobResource
from local_bigquery.errors import BigQueryError, not_found
from local_bigquery.ml.model import TrainedModel
from local_bigquery.ml.store import Description, ModelStore
from local_bigquery.sql.statements import ModelPath

ModelResource = dict[str, Any]

# The fields of a model that models.list returns; models.get returns all.
_LISTED = ("modelReference", "modelType", "creationTime", "lastModifiedTime", "labels")
_CHANGEABLE = {"description", "encryptionConfiguration", "expirationTime", "friendlyName", "labels"}


class ModelRegistry:
    """The models of all datasets."""

    def __init__(self, emulator: Emulator, store: ModelStore) -> None:
        self._emulator = emulator
        self._store = store

    async def exists(self, path: ModelPath) -> bool:
        """Return True if there is a model of that name."""
        return await self._emulator.exclusively(self._record(path)) is not None

    async def load(self, path: ModelPath) -> TrainedModel:
        """Return a trained model.

        Raises:
            BigQueryError: `notFound`.
        """
        model = await asyncio.to_thread(self._store.load, path) if await self.exists(path) else None
        if model is None:
            raise not_found("Model", str(path))
        return model

    async def get(self, path: ModelPath) -> ModelResource:
        """Return the resource of a model.

        Raises:
            BigQueryError: `notFound`.
        """
        return await self._emulator.exclusively(self._get(path))

    async def of_dataset(self, project: str, dataset: str) -> list[ModelResource]:
        """Return the models of a dataset in the order of their names, with the fields of models.list.

        Raises:
            BigQueryError: `notFound` if the dataset does not exist.
        """
        return await self._emulator.exclusively(self._of_dataset(project, dataset))

    async def create(
        self,
        path: ModelPath,
        model: TrainedModel,
        description: Description,
        job: tuple[str, str, Mapping[str, Any]],
    ) -> JobResource:
        """Create or replace a model.

        Args:
            path: the name of the model.
            model: the trained model.
            description: the fields of its resource that the training determined.
            job: project, id and configuration of the job that runs the emulator's own CREATE MODEL, which records the
                model.

        Returns:
            The resource of that job.
        """
        staged = await asyncio.to_thread(self._store.stage, path, model, description)
        return await self._emulator.exclusively(self._create(path, staged, job))

    async def patch(self, path: ModelPath, changes: Mapping[str, Any], etag: str | None) -> ModelResource:
        """Change the resource of a model as models.patch does, and return it.

        Args:
            path: the name of the model.
            changes: the fields to change; None removes a field. Labels are changed one by one.
            etag: the etag that the resource must have; None for any.

        Raises:
            BigQueryError: `notFound`; `conditionNotMet` if the etag differs; `invalid` for a field that cannot be
                changed.
        """
        return await self._emulator.exclusively(self._patch(path, changes, etag))

    async def delete(self, path: ModelPath) -> None:
        """Delete a model.

        Raises:
            BigQueryError: `notFound`.
        """
        await self._emulator.exclusively(self._delete(path))

    async def _create(self, path: ModelPath, staged: Path, job: tuple[str, str, Mapping[str, Any]]) -> JobResource:
        try:
            resource = await self._emulator.unlocked.insert_job(*job)
            self._store.publish(path, staged)
        finally:
            self._store.discard(staged)
        dataset = await self._emulator.unlocked.call("GET", f"{path.project}/datasets/{path.dataset}")
        lifetime_ms = dataset.get("defaultTableExpirationMs")
        if lifetime_ms is not None:
            expiry = str(_now_ms() + int(lifetime_ms))
            await self._emulator.unlocked.call("PATCH", path.rest_path, json={"expirationTime": expiry})
        return resource

    async def _get(self, path: ModelPath) -> ModelResource:
        record = await self._record(path)
        if record is None:
            raise not_found("Model", str(path))
        return {**record, **self._store.describe(path)}

    async def _of_dataset(self, project: str, dataset: str) -> list[ModelResource]:
        answer = await self._emulator.unlocked.call("GET", f"{project}/datasets/{dataset}/models")
        if not answer["models"]:
            # The emulator returns an empty list for a dataset that does not exist; this raises `notFound`.
            await self._emulator.unlocked.call("GET", f"{project}/datasets/{dataset}")
        listed = [model for model in answer["models"] if not _has_expired(model)]
        return [{field: model[field] for field in _LISTED if field in model} for model in listed]

    async def _patch(self, path: ModelPath, changes: Mapping[str, Any], etag: str | None) -> ModelResource:
        record = await self._get(path)
        if etag not in (None, "*", record["etag"]):
            raise BigQueryError(
                "conditionNotMet", f"Precondition check failed: model {path} was changed by another client"
            )
        for field in changes:
            # Clients send back all fields that they received; like BigQuery, refuse only changed ones.
            if field not in _CHANGEABLE and changes[field] != record.get(field):
                raise BigQueryError("invalid", f"The field {field!r} of a model cannot be changed")
        accepted = {field: value for field, value in changes.items() if field in _CHANGEABLE}
        if "labels" in accepted:
            labels = {**record.get("labels", {}), **(accepted["labels"] or {})}
            accepted["labels"] = {key: value for key, value in labels.items() if value is not None}
        await self._emulator.unlocked.call("PATCH", path.rest_path, json=accepted)
        return await self._get(path)

    async def _delete(self, path: ModelPath) -> None:
        if await self._record(path) is None:
            raise not_found("Model", str(path))
        await self._emulator.unlocked.call("DELETE", path.rest_path)
        self._store.remove(path)

    async def _record(self, path: ModelPath) -> ModelResource | None:
        """Return the emulator's record of a model, or None. A model that has expired is deleted."""
        try:
            record = await self._emulator.unlocked.call("GET", path.rest_path)
        except BigQueryError as error:
            if error.reason != "notFound":
                raise
            return None
        if _has_expired(record):
            await self._emulator.unlocked.call("DELETE", path.rest_path)
            self._store.remove(path)
            return None
        return record


def _has_expired(record: ModelResource) -> bool:
    return "expirationTime" in record and int(record["expirationTime"]) <= _now_ms()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
