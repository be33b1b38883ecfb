"""The catalog: models and versions as the registry has them, in immutable snapshots."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType
from typing import Self

import structlog

from prediction_store.layout import REGISTRY_DOCUMENT, REGISTRY_REVISION, REGISTRY_TABLE, Instance, RowKeyFormat
from prediction_store.lifecycle import ModelState, RegistryError
from prediction_store.messages import newest_by_column, read_request, registry_filter
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
            for version in state.versions
            if state.is_readable(version)
        }
        return cls(state, None if state.active is None else readable[state.active], MappingProxyType(readable))


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


Cells = Mapping[bytes, bytes]
"""The cells of a row of the registry, by column."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the registry: a document, its revision, and the model or the reason why the document is invalid."""

    revision: int
    document: bytes
    model: Model | RegistryError


class Catalog:
    """Keeps a snapshot of the registry. While the registry cannot be read, the last snapshot stays.

    A replica of Bigtable may be behind the one that answered before. So a revision that is older than the known one is
    ignored. That holds for a registry restored from a backup too, until the next step of its writers, whose revision
    is newer. A row that is missing was deleted by an operator.
    """

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
        self._app_profile = settings.app_profile
        self._lookups = lookups
        self._on_switch = on_switch
        self._snapshot: Snapshot | None = None
        self._read_at: float | None = None
        self._rows: dict[str, _Row] = {}
        self._failure: str | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The last snapshot; None if the registry has not been read yet."""
        return self._snapshot

    @property
    def age_seconds(self) -> float | None:
        """The time since the last read of the registry began; None if it has not been read yet.

        So a change of the registry that is older than this is known here, if the replica that was read knew it.
        """
        return None if self._read_at is None else time.monotonic() - self._read_at

    async def refresh(self) -> None:
        """Read the revisions in the registry, and the documents that changed. If that fails, keep the last snapshot."""
        began = time.monotonic()
        try:
            names, documents = await self._read_changes()
        except CallError as error:
            if error.code != self._failure:
                _log.error("the registry cannot be read; keeping the last state", code=error.code, reason=error.reason)
            self._failure = error.code
            return
        if self._failure:
            _log.info("the registry can be read again")
        self._failure = None
        self._read_at = began
        if documents or self._snapshot is None or names != self._rows.keys():
            self._apply(names, documents)

    async def _read_changes(self) -> tuple[Collection[str], dict[str, Cells]]:
        """The names of all models, and the documents whose revisions are newer than the known ones.

        Raises:
            CallError: the registry cannot be read.
        """
        if not self._rows:
            documents = await self._read(REGISTRY_DOCUMENT, REGISTRY_REVISION)
            return documents.keys(), documents
        revisions = await self._read(REGISTRY_REVISION)
        changed = [name for name, cells in revisions.items() if self._is_newer(name, _revision(cells))]
        if not changed:
            return revisions.keys(), {}
        return revisions.keys(), await self._read(REGISTRY_DOCUMENT, REGISTRY_REVISION, names=changed)

    async def _read(self, *columns: bytes, names: Iterable[str] = ()) -> dict[str, Cells]:
        """Read columns of the rows of these models, or of all; return the cells by model and column.

        Raises:
            CallError: the registry cannot be read.
        """
        keys = (name.encode() for name in names)
        request = read_request(self._table, self._app_profile, keys, registry_filter(b"|".join(columns)))
        rows = await self._client.read_cells(self._table, request.SerializeToString(), _READ_TIMEOUT_SECONDS)
        return {key.decode(errors="replace"): newest_by_column(cells) for key, cells in rows}

    def _is_newer(self, name: str, revision: int) -> bool:
        known = self._rows.get(name)
        return known is None or revision > known.revision

    def _apply(self, names: Collection[str], documents: Mapping[str, Cells]) -> None:
        """Make a new snapshot of the models of these names, with the documents that were read."""
        rows = {name: row for name, row in self._rows.items() if name in names}
        for name, cells in documents.items():
            revision, document = _revision(cells), cells.get(REGISTRY_DOCUMENT, b"")
            known = rows.get(name)
            if known and revision < known.revision:
                _log.warning("an older revision was read; keeping the newer", model=name, revision=revision)
            elif known and document == known.document:
                rows[name] = replace(known, revision=revision)
            else:
                rows[name] = _Row(revision, document, self._parse(name, document))
        last = self._snapshot.models if self._snapshot else {}
        models: dict[str, Model] = {}
        broken: dict[str, str] = {}
        for name, row in sorted(rows.items()):
            if isinstance(row.model, Model):
                models[name] = row.model
                continue
            broken[name] = str(row.model)
            if name in last:
                models[name] = last[name]
        self._rows = rows
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
            source = self._lookups.entities(table, dict(version.name for version in versions))
            entity_types[table] = EntityType(versions, source)
        return MappingProxyType(entity_types)


def iso_time(version: int) -> str:
    """The time of a version in ISO 8601, UTC. `version` is in milliseconds since the epoch."""
    seconds, milliseconds = divmod(version, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03}Z"


def _revision(cells: Cells) -> int:
    """The revision in the cells of a row; 0 if there is none that is valid."""
    try:
        return int(cells.get(REGISTRY_REVISION, b""))
    except ValueError:
        return 0
