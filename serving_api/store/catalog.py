"""The models and their versions, as the registry has them, in immutable snapshots."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Self

import structlog

from prediction_store.layout import REGISTRY_DOCUMENT, REGISTRY_FAMILY, REGISTRY_TABLE, Instance, RowKeyFormat
from prediction_store.lifecycle import ModelState, RegistryError, Status
from prediction_store.messages import ReadRowsRequest, ReadRowsResponse, RowAssembler, RowFilter
from serving_api.bigtable import Answer, CallError, Channel
from serving_api.store.cache import Name
from serving_api.store.lookups import EntitySource, Lookups, VersionSource

_log = structlog.get_logger(__name__)

_READ_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class ModelVersion:
    """A version of a model's predictions, and where it is read. `json_members` is what an answer says of it."""

    model: str
    version: int
    created_at: str
    row_keys: RowKeyFormat
    table: str
    source: VersionSource
    json_members: bytes

    @property
    def name(self) -> Name:
        """Its model, and its number."""
        return self.model, self.version

    @classmethod
    def of(cls, state: ModelState, version: int, lookups: Lookups) -> Self:
        """A version of a model."""
        created_at = iso_time(version)
        return cls(
            model=state.model,
            version=version,
            created_at=created_at,
            row_keys=state.row_keys,
            table=state.entity_type,
            source=lookups.version(state.entity_type, state.model, version),
            json_members=b'"version":%d,"created_at":"%b"' % (version, created_at.encode()),
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its state in the registry, the version that is served, and all versions that can be read."""

    state: ModelState
    active: ModelVersion | None
    readable: Mapping[int, ModelVersion]

    @classmethod
    def of(cls, state: ModelState, lookups: Lookups) -> Self:
        """The model in a state. Cells of an expired version may be gone, so that it cannot be read."""
        readable = {
            version: ModelVersion.of(state, version, lookups)
            for version, record in state.versions.items()
            if version == state.active or (record.has_cells and record.status is not Status.EXPIRED)
        }
        return cls(state, None if state.active is None else readable[state.active], MappingProxyType(readable))


@dataclass(frozen=True, slots=True)
class EntityType:
    """An entity type: the active versions of its models, and the source that has them all."""

    active: tuple[ModelVersion, ...]
    source: EntitySource


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the registry said at one time.

    `broken` says what is wrong with the documents that could not be understood. Their models are in `models` as they
    were last understood, if they ever were.
    """

    models: Mapping[str, Model]
    broken: Mapping[str, str]
    entity_types: Mapping[str, EntityType]


class Catalog:
    """Keeps a snapshot of the registry up to date; the last one, if the registry cannot be read."""

    def __init__(
        self,
        channel: Channel,
        instance: Instance,
        app_profile: str,
        lookups: Lookups,
        on_switch: Callable[[ModelVersion, ModelVersion], None],
    ) -> None:
        """Read the registry of an instance.

        Args:
            channel: to Bigtable.
            instance: where the registry table is.
            app_profile: the app profile to read through; empty: the default one.
            lookups: by what the versions are read.
            on_switch: called when another version of a model is served, with the one before and the new one.
        """
        self._channel = channel
        self._table = instance.table(REGISTRY_TABLE)
        request = ReadRowsRequest(table_name=self._table, app_profile_id=app_profile, filter=_document_filter())
        self._request = request.SerializeToString()
        self._lookups = lookups
        self._on_switch = on_switch
        self._snapshot: Snapshot | None = None
        self._read_at: float | None = None
        self._documents: dict[str, bytes] = {}
        self._understood: dict[bytes, Model | RegistryError] = {}
        self._failure: str | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The last snapshot; None if the registry has never been read."""
        return self._snapshot

    @property
    def age_seconds(self) -> float | None:
        """The time since the registry was last read; None if it never was."""
        return None if self._read_at is None else time.monotonic() - self._read_at

    async def refresh(self) -> None:
        """Read the registry once. If that fails, say so in the log and keep the last snapshot."""
        try:
            documents = await self._read()
        except CallError as error:
            if error.code != self._failure:
                _log.error("the registry cannot be read; keeping the last state", code=error.code, reason=error.reason)
            self._failure = error.code
            return
        if self._failure:
            _log.info("the registry can be read again")
        self._failure = None
        self._read_at = time.monotonic()
        if self._snapshot is None or documents != self._documents:
            self._documents = documents
            self._take(documents)

    async def _read(self) -> dict[str, bytes]:
        """The document of every model.

        Raises:
            CallError: they cannot be read.
        """
        answer = Answer()
        self._channel.read_rows(self._table, self._request, _READ_TIMEOUT_SECONDS, answer)
        response = ReadRowsResponse.FromString(await answer.whole(_READ_TIMEOUT_SECONDS))
        return {key.decode(errors="replace"): cells[REGISTRY_FAMILY] for key, cells in RowAssembler().feed(response)}

    def _take(self, documents: Mapping[str, bytes]) -> None:
        """Make the documents the new snapshot. Those that did not change are not parsed again."""
        last = self._snapshot.models if self._snapshot else {}
        models: dict[str, Model] = {}
        broken: dict[str, str] = {}
        understood: dict[bytes, Model | RegistryError] = {}
        for name, document in documents.items():
            result = understood[document] = self._understood.get(document) or self._understand(name, document)
            if isinstance(result, Model):
                models[name] = result
                continue
            broken[name] = str(result)
            if name in last:
                models[name] = last[name]
        self._understood = understood
        self._snapshot = Snapshot(MappingProxyType(models), MappingProxyType(broken), self._entity_types(models))
        for name, model in models.items():
            previous = last[name].active if name in last else None
            if name not in last or last[name].state.active != model.state.active:
                _log.info("serving", model=name, version=model.state.active)
                if previous and model.active:
                    self._on_switch(previous, model.active)

    def _understand(self, name: str, document: bytes) -> Model | RegistryError:
        """The model that a document describes, or what is wrong with it."""
        try:
            model = Model.of(ModelState.from_json(document), self._lookups)
        except (RegistryError, TypeError, ValueError, KeyError, OverflowError) as error:
            reason = str(error)
        else:
            if model.state.model == name:
                return model
            reason = f"it describes {model.state.model}"
        _log.error("the registry has a broken document; keeping the model's last state", model=name, reason=reason)
        return RegistryError(f"{name}: {reason}")

    def _entity_types(self, models: Mapping[str, Model]) -> Mapping[str, EntityType]:
        by_table = attrgetter("table")
        active = sorted((model.active for model in models.values() if model.active), key=by_table)
        entity_types: dict[str, EntityType] = {}
        for table, group in groupby(active, key=by_table):
            versions = tuple(group)
            source = self._lookups.entities(table, [version.name for version in versions])
            entity_types[table] = EntityType(versions, source)
        return MappingProxyType(entity_types)


def iso_time(version: int) -> str:
    """The time of a version, which counts milliseconds since the epoch, in ISO 8601 and UTC."""
    seconds, milliseconds = divmod(version, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def _document_filter() -> Any:
    return RowFilter(
        chain=RowFilter.Chain(
            filters=[
                RowFilter(family_name_regex_filter=REGISTRY_FAMILY),
                RowFilter(column_qualifier_regex_filter=REGISTRY_DOCUMENT),
                RowFilter(cells_per_column_limit_filter=1),
            ]
        )
    )
