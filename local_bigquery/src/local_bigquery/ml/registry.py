"""The models of all datasets: what the emulator records of them and the catalog holds, as one.

The emulator knows which models exist, forgets those of a dataset that is deleted, and keeps what a client may change
(description, labels, ...). The catalog holds what training has made. Each operation here is one turn at the emulator,
so that nobody sees one half of a model new and the other old.

https://cloud.google.com/bigquery/docs/reference/rest/v2/models
"""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from local_bigquery.backend.emulator import Emulator
from local_bigquery.errors import BigQueryError, not_found
from local_bigquery.ml.model_types import TrainedModel
from local_bigquery.ml.store import Description, ModelCatalog
from local_bigquery.sql.statements import ModelPath

ModelResource = dict[str, Any]

# What models.list says of a model; the rest is for models.get.
_LISTED = ("modelReference", "modelType", "creationTime", "lastModifiedTime", "labels")
_CHANGEABLE = {"description", "encryptionConfiguration", "expirationTime", "friendlyName", "labels"}


class ModelRegistry:
    """The models of all datasets."""

    def __init__(self, emulator: Emulator, catalog: ModelCatalog) -> None:
        self._emulator = emulator
        self._catalog = catalog

    async def exists(self, path: ModelPath) -> bool:
        """Whether there is a model of that name."""
        return await self._emulator.exclusively(self._record(path)) is not None

    async def load(self, path: ModelPath) -> TrainedModel:
        """Return a trained model.

        Raises:
            BigQueryError: `notFound`.
        """
        model = await asyncio.to_thread(self._catalog.load, path) if await self.exists(path) else None
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
        """Return what models.list shows of the models of a dataset, by name.

        Raises:
            BigQueryError: `notFound`, if there is no such dataset.
        """
        return await self._emulator.exclusively(self._of_dataset(project, dataset))

    async def create(
        self,
        path: ModelPath,
        model: TrainedModel,
        description: Description,
        job: tuple[str, str, Mapping[str, Any]],
    ) -> dict[str, Any]:
        """Record a trained model, or replace one.

        Args:
            path: The model's name.
            model: The model.
            description: What training has found out about it.
            job: Project, id and configuration of the job that runs the CREATE MODEL which makes the emulator record it.

        Returns:
            The resource of that job.
        """
        staged = await asyncio.to_thread(self._catalog.stage, path, model, description)
        return await self._emulator.exclusively(self._create(path, staged, job))

    async def patch(self, path: ModelPath, changes: Mapping[str, Any], etag: str | None) -> ModelResource:
        """Change a model's resource as models.patch does, and return it.

        Args:
            path: The model's name.
            changes: The fields to change; None removes one. Labels are changed one by one.
            etag: The etag that the resource must have for the change to be made; None for any.

        Raises:
            BigQueryError: `notFound`, `conditionNotMet`, or `invalid` for a field that cannot be changed.
        """
        return await self._emulator.exclusively(self._patch(path, changes, etag))

    async def delete(self, path: ModelPath) -> None:
        """Delete a model.

        Raises:
            BigQueryError: `notFound`.
        """
        await self._emulator.exclusively(self._delete(path))

    async def _create(self, path: ModelPath, staged: Path, job: tuple[str, str, Mapping[str, Any]]) -> dict[str, Any]:
        try:
            resource = await self._emulator.in_turn.insert_job(*job)
            self._catalog.publish(path, staged)
        finally:
            self._catalog.discard(staged)
        dataset = await self._emulator.in_turn.call("GET", f"{path.project}/datasets/{path.dataset}")
        lifetime_ms = dataset.get("defaultTableExpirationMs")
        if lifetime_ms is not None:
            expiry = str(_now_ms() + int(lifetime_ms))
            await self._emulator.in_turn.call("PATCH", _rest_path(path), json={"expirationTime": expiry})
        return resource

    async def _get(self, path: ModelPath) -> ModelResource:
        record = await self._record(path)
        if record is None:
            raise not_found("Model", str(path))
        return {**record, **self._catalog.describe(path)}

    async def _of_dataset(self, project: str, dataset: str) -> list[ModelResource]:
        answer = await self._emulator.in_turn.call("GET", f"{project}/datasets/{dataset}/models")
        if not answer["models"]:
            await self._emulator.in_turn.call("GET", f"{project}/datasets/{dataset}")  # no dataset, or an empty one?
        listed = [model for model in answer["models"] if not _has_expired(model)]
        return [{field: model[field] for field in _LISTED if field in model} for model in listed]

    async def _patch(self, path: ModelPath, changes: Mapping[str, Any], etag: str | None) -> ModelResource:
        record = await self._get(path)
        if etag not in (None, "*", record["etag"]):
            raise BigQueryError("conditionNotMet", f"Precondition check failed: model {path} has changed meanwhile")
        for field in changes:
            # Clients send back all that they have got; BigQuery, too, only minds what has been changed.
            if field not in _CHANGEABLE and changes[field] != record.get(field):
                raise BigQueryError("invalid", f"The field {field!r} of a model cannot be changed")
        accepted = {field: value for field, value in changes.items() if field in _CHANGEABLE}
        if "labels" in accepted:
            labels = {**record.get("labels", {}), **(accepted["labels"] or {})}
            accepted["labels"] = {key: value for key, value in labels.items() if value is not None}
        await self._emulator.in_turn.call("PATCH", _rest_path(path), json=accepted)
        return await self._get(path)

    async def _delete(self, path: ModelPath) -> None:
        if await self._record(path) is None:
            raise not_found("Model", str(path))
        await self._emulator.in_turn.call("DELETE", _rest_path(path))
        self._catalog.remove(path)

    async def _record(self, path: ModelPath) -> ModelResource | None:
        """Return what the emulator records of a model, or None; a model that has expired is deleted."""
        try:
            record = await self._emulator.in_turn.call("GET", _rest_path(path))
        except BigQueryError as error:
            if error.reason != "notFound":
                raise
            return None
        if _has_expired(record):
            await self._emulator.in_turn.call("DELETE", _rest_path(path))
            self._catalog.remove(path)
            return None
        return record


def _has_expired(record: ModelResource) -> bool:
    return "expirationTime" in record and int(record["expirationTime"]) <= _now_ms()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _rest_path(path: ModelPath) -> str:
    return f"{path.project}/datasets/{path.dataset}/models/{path.model}"
