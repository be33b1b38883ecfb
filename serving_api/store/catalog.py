"""The catalog: models and versions as the registry has them, in immutable snapshots."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Self

import structlog

from prediction_store.layout import (
    REGISTRY_DOCUMENT,
    REGISTRY_FAMILY,
    REGISTRY_REVISION,
    REGISTRY_TABLE,
    Instance,
    RowKeyFormat,
)
from prediction_store.lifecycle import ModelState, RegistryError, Status, VersionRecord
from prediction_store.messages import ReadRowsRequest, RowFilter, newest_by_column
from serving_api.bigtable import BigtableClient, CallError
from serving_api.settings import Settings
from serving_api.store.cache import VersionName
from serving_api.store.lookups import EntitySource, Lookups, VersionSource

_log = structlog.get_logger(__name__)

_READ_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class ModelVersion:
    """A version of a model that can be read.

    Attributes:
        model: the name of the model.
        version: the number of the version.
        created_at: the time of the version in ISO 8601.
        row_keys: the format of the row keys.
        table: the table that has the predictions.
        is_final: True if the predictions cannot change any more, so that answers may be kept.
        source: reads the predictions.
        json_members: the members of a JSON answer that describe the version, encoded once.
    """

    model: str
    version: int
    created_at: str
    row_keys: RowKeyFormat
    table: str
    is_final: bool
    source: VersionSource
    json_members: bytes

    @property
    def name(self) -> VersionName:
        """The model and the number of the version."""
        return self.model, self.version

    @classmethod
    def of(cls, state: ModelState, version: int, lookups: Lookups) -> Self:
        """The version of that number of a model in a state.

        The versions up to the active one that can be read were promoted, so they are final. A version above it was not
        promoted yet or was rolled back: its cells may be written, replicated or purged.
        """
        created_at = iso_time(version)
        is_final = version <= (state.active or 0)
        return cls(
            model=state.model,
            version=version,
            created_at=created_at,
            row_keys=state.row_keys,
            table=state.entity_type,
            is_final=is_final,
            source=lookups.version(state.entity_type, state.model, version, cached=is_final),
            json_members=b'"version":%d,"created_at":"%b"' % (version, created_at.encode()),
        )


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its state in the registry, its active version, and all versions that can be read, by number."""

    state: ModelState
    active: ModelVersion | None
    readable: Mapping[int, ModelVersion]

    @classmethod
    def of(cls, state: ModelState, lookups: Lookups) -> Self:
        """The model in a state."""
        readable = {
            version: ModelVersion.of(state, version, lookups)
            for version, record in state.versions.items()
            if _is_readable(state, version, record)
        }
        return cls(state, None if state.active is None else readable[state.active], MappingProxyType(readable))


def _is_readable(state: ModelState, version: int, record: VersionRecord) -> bool:
    """Return True if a version has all its cells, and no other cells are read with it.

    Up to the active version, that holds for promoted versions that have not expired. Above it, it holds from the
    receipt of the export on, until a newer version is opened: then a purge may delete the cells.
    """
    if version <= (state.active or 0):
        return version == state.active or record.status is Status.PROMOTED
    return version == state.latest and record.receipt is not None and not state.stale_versions(version)


@dataclass(frozen=True, slots=True)
class EntityType:
    """An entity type: the active versions of its models, and the source that reads them together."""

    active: tuple[ModelVersion, ...]
    source: EntitySource


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of the registry at one time.

    Attributes:
        models: the models by name. A model whose document is invalid is here in its last valid state, if there was one.
        broken: the reason why a document is invalid, by model.
        entity_types: the entity types that have an active version, by name.
    """

    models: Mapping[str, Model]
    broken: Mapping[str, str]
    entity_types: Mapping[str, EntityType]


class Catalog:
    """Keeps a snapshot of the registry. While the registry cannot be read, the last snapshot stays."""

    def __init__(
        self,
        client: BigtableClient,
        settings: Settings,
        lookups: Lookups,
        on_switch: Callable[[ModelVersion, ModelVersion], None],
    ) -> None:
        """Prepare to read the registry.

        Args:
            client: reads from Bigtable.
            settings: the instance and the app profile.
            lookups: reads the predictions of versions.
            on_switch: called with the previous and the new active version when the active version of a model changes.
        """
        self._client = client
        self._table = Instance(settings.project, settings.instance).table(REGISTRY_TABLE)
        request = ReadRowsRequest(
            table_name=self._table, app_profile_id=settings.app_profile, filter=_document_filter()
        )
        self._request = request.SerializeToString()
        self._lookups = lookups
        self._on_switch = on_switch
        self._snapshot: Snapshot | None = None
        self._read_at: float | None = None
        self._documents: dict[str, bytes] = {}
        self._revisions: dict[str, int] = {}
        self._parsed: dict[bytes, Model | RegistryError] = {}
        self._failure: str | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The last snapshot; None if the registry has not been read yet."""
        return self._snapshot

    @property
    def age_seconds(self) -> float | None:
        """The time since the registry was last read; None if it has not been read yet."""
        return None if self._read_at is None else time.monotonic() - self._read_at

    async def refresh(self) -> None:
        """Read the registry once. If that fails, log it and keep the last snapshot."""
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
            self._apply(documents)

    async def _read(self) -> dict[str, bytes]:
        """Read the document of every model, by the model's name.

        A cluster that is behind in replication may answer with an earlier revision than another cluster did before.
        Then the later document stays.

        Raises:
            CallError: the registry cannot be read.
        """
        read = await self._client.read_cells(self._table, self._request, _READ_TIMEOUT_SECONDS)
        rows = {key.decode(errors="replace"): newest_by_column(cells) for key, cells in read}
        last, self._revisions = self._revisions, {name: _revision(cells) for name, cells in rows.items()}
        documents = {name: cells.get(REGISTRY_DOCUMENT, b"") for name, cells in rows.items()}
        for name, revision in self._revisions.items():
            if revision < last.get(name, 0):
                self._revisions[name], documents[name] = last[name], self._documents[name]
        return documents

    def _apply(self, documents: Mapping[str, bytes]) -> None:
        """Make a new snapshot of the documents. Documents that did not change are not parsed again."""
        last = self._snapshot.models if self._snapshot else {}
        models: dict[str, Model] = {}
        broken: dict[str, str] = {}
        parsed: dict[bytes, Model | RegistryError] = {}
        for name, document in documents.items():
            result = parsed[document] = self._parsed.get(document) or self._parse(name, document)
            if isinstance(result, Model):
                models[name] = result
                continue
            broken[name] = str(result)
            if name in last:
                models[name] = last[name]
        self._parsed = parsed
        self._snapshot = Snapshot(MappingProxyType(models), MappingProxyType(broken), self._entity_types(models))
        for name, model in models.items():
            previous = last[name].active if name in last else None
            if name not in last or last[name].state.active != model.state.active:
                _log.info("serving", model=name, version=model.state.active)
                if previous and model.active:
                    self._on_switch(previous, model.active)

    def _parse(self, name: str, document: bytes) -> Model | RegistryError:
        """Parse a document; the error says why it is invalid."""
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
    """The time of a version in ISO 8601, UTC. `version` is in milliseconds since the epoch."""
    seconds, milliseconds = divmod(version, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def _revision(cells: Mapping[bytes, bytes]) -> int:
    """The revision of a row; 0 if it has none that is a number."""
    revision = cells.get(REGISTRY_REVISION, b"")
    return int(revision) if revision.isdigit() else 0


def _document_filter() -> Any:
    return RowFilter(
        chain=RowFilter.Chain(
            filters=[
                RowFilter(family_name_regex_filter=REGISTRY_FAMILY),
                RowFilter(column_qualifier_regex_filter=b"%b|%b" % (REGISTRY_DOCUMENT, REGISTRY_REVISION)),
                RowFilter(cells_per_column_limit_filter=1),
            ]
        )
    )
