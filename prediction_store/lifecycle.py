r"""The life of a model's versions: opened, exported, promoted, and what may follow what.

Pure values and rules. `registry` keeps them in Bigtable.

    open -> exporting -> (receipt) -> promoted -> expired
      \________\____________________ aborted -> purged
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from prediction_store.layout import RowKeyFormat


class RegistryError(Exception):
    """A step that the state of the model's versions does not allow. Nothing was changed."""


class Status(StrEnum):
    """Where a version is in its life."""

    OPEN = "open"
    EXPORTING = "exporting"
    PROMOTED = "promoted"
    EXPIRED = "expired"  # was promoted; garbage collection may have taken its cells
    ABORTED = "aborted"
    PURGED = "purged"  # its cells have been deleted


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an export wrote: cells that hold a prediction, and cells that say an entity has none."""

    predictions: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version: its status, its receipt, and what the refresh noted of it (model, tables, metrics)."""

    status: Status
    has_cells: bool = False
    receipt: Receipt | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelState:
    """Everything the registry knows of one model. Immutable: every step returns the state that follows.

    `keep_versions` versions (the active one among them) stay readable; the column family keeps one cell more, for
    the version that is being exported.
    """

    model: str
    entity_type: str
    row_keys: RowKeyFormat = "plain"
    keep_versions: int = 4
    active: int | None = None
    latest: int = 0
    versions: Mapping[int, VersionRecord] = field(default_factory=dict)

    def open(self, now: int) -> "ModelState":
        """Open a version, `latest` of the result: `now` in milliseconds, or just above the latest if that is newer.

        Opening a version shuts out all that were opened before and not promoted.
        """
        version = max(now, self.latest + 1)
        return replace(self, latest=version, versions={**self.versions, version: VersionRecord(Status.OPEN)})

    def note(self, version: int, **details: Any) -> "ModelState":
        """Add to the details of a version; a detail of the same name is replaced."""
        record = self._record(version)
        return self._with(version, replace(record, details={**record.details, **details}))

    def begin_export(self, version: int) -> "ModelState":
        """Say that cells of a version are about to be written; forget the receipt of an earlier try.

        The cells to come push out, by garbage collection, all but the newest `keep_versions` promoted versions: the
        others expire here.
        """
        record = self._latest_record(version, "be exported")
        expiring = [v for v in self._promoted() if v <= (self.active or 0)][self.keep_versions :]
        expired = {v: replace(self.versions[v], status=Status.EXPIRED) for v in expiring}
        exporting = replace(record, status=Status.EXPORTING, has_cells=True, receipt=None)
        return replace(self, versions={**self.versions, **expired, version: exporting})

    def stale_versions(self, version: int) -> list[int]:
        """The versions, other than this one, whose cells may lie above the active version and would be read."""
        floor = self.active or 0
        return sorted(v for v, r in self.versions.items() if v > floor and v != version and r.has_cells)

    def purged(self, version: int) -> "ModelState":
        """Say that all cells above the active version have been deleted, except those of `version`."""
        purged = {
            v: replace(self.versions[v], status=Status.PURGED, has_cells=False, receipt=None)
            for v in self.stale_versions(version)
        }
        return replace(self, versions={**self.versions, **purged})

    def complete_export(self, version: int, receipt: Receipt) -> "ModelState":
        """Keep the receipt of a finished export."""
        record = self._latest_record(version, "be completed")
        if record.status is not Status.EXPORTING:
            raise RegistryError(f"{self.model}: version {version} is {record.status}; begin its export first")
        return self._with(version, replace(record, receipt=receipt))

    def promote(self, version: int, *, expected_active: int | None, expected: Receipt) -> "ModelState":
        """Make a version the active one.

        Args:
            version: the version to serve from now on.
            expected_active: the version that the refresh was computed against.
            expected: what BigQuery says should have been written.

        Raises:
            RegistryError: the version is not complete, or readers have moved on since it was computed.
        """
        if self.active == version:
            return self
        record = self._latest_record(version, "be promoted")
        if self.active != expected_active:
            raise RegistryError(
                f"{self.model}: version {version} was computed against active version {expected_active}, but "
                f"{self.active} is active now; start a new refresh"
            )
        if record.receipt is None:
            raise RegistryError(f"{self.model}: version {version} ({record.status}) has no receipt; export it first")
        if record.receipt != expected:
            raise RegistryError(
                f"{self.model}: version {version} is not complete: BigQuery has {expected.predictions} predictions "
                f"and {expected.tombstones} tombstones to write, the export wrote {record.receipt.predictions} and "
                f"{record.receipt.tombstones}; export it again"
            )
        if stale := self.stale_versions(version):
            raise RegistryError(f"{self.model}: cells of versions {stale} would be read with {version}; purge them")
        return replace(self._with(version, replace(record, status=Status.PROMOTED)), active=version)

    def rollback_targets(self) -> list[int]:
        """The versions that can be rolled back to, newest first."""
        return [v for v in self._promoted() if v < (self.active or 0)]

    def roll_back(self, to: int | None = None) -> "ModelState":
        """Make an earlier promoted version the active one again: `to`, or the newest before the active one."""
        targets = self.rollback_targets()
        if not targets or (to is not None and to not in targets):
            raise RegistryError(
                f"{self.model}: cannot roll back from {self.active} to {to or 'an earlier version'}; "
                f"possible: {', '.join(map(str, targets)) or 'none'}"
            )
        return replace(self, active=to or targets[0])

    def abort(self, version: int) -> "ModelState":
        """Give up a version that is not active. Its cells, if any, stay until the next purge."""
        if version == self.active:
            raise RegistryError(f"{self.model}: version {version} is active; roll back before aborting it")
        record = self._record(version)
        if record.status in (Status.PURGED, Status.EXPIRED):
            return self
        return self._with(version, replace(record, status=Status.ABORTED, receipt=None))

    def forget(self) -> "ModelState":
        """Drop the records of versions that can neither be read nor be promoted, except the newest `keep_versions`."""
        dead = [
            v for v, r in self.versions.items() if r.status in _DEAD and not (r.has_cells and v > (self.active or 0))
        ]
        dropped = set(sorted(dead, reverse=True)[self.keep_versions :])
        return replace(self, versions={v: r for v, r in self.versions.items() if v not in dropped})

    def to_json(self) -> bytes:
        """The state as a JSON document."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, document: bytes) -> "ModelState":
        """The inverse of `to_json`.

        Raises:
            RegistryError: the document is not one that `to_json` makes.
        """
        try:
            fields = json.loads(document)
            versions = {int(v): _record_from(r) for v, r in fields.pop("versions").items()}
            return cls(versions=versions, **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RegistryError(f"not a registry document ({error}): {document[:200]!r}") from error

    def _promoted(self) -> list[int]:
        """The versions that were promoted and can still be read, newest first."""
        return sorted((v for v, r in self.versions.items() if r.status is Status.PROMOTED), reverse=True)

    def _record(self, version: int) -> VersionRecord:
        if version not in self.versions:
            raise RegistryError(f"{self.model}: no version {version}; the registry has {sorted(self.versions)}")
        return self.versions[version]

    def _latest_record(self, version: int, what: str) -> VersionRecord:
        """The record of the latest version, which alone may still change."""
        record = self._record(version)
        if version != self.latest:
            raise RegistryError(f"{self.model}: version {version} cannot {what}: {self.latest} was opened after it")
        if record.status in (Status.PROMOTED, Status.EXPIRED, Status.PURGED):
            raise RegistryError(f"{self.model}: version {version} cannot {what}: it is {record.status}")
        return record

    def _with(self, version: int, record: VersionRecord) -> "ModelState":
        return replace(self, versions={**self.versions, version: record})


_DEAD = (Status.EXPIRED, Status.ABORTED, Status.PURGED)


def _record_from(fields: dict[str, Any]) -> VersionRecord:
    receipt = fields["receipt"]
    return VersionRecord(
        status=Status(fields["status"]),
        has_cells=fields["has_cells"],
        receipt=None if receipt is None else Receipt(**receipt),
        details=fields["details"],
    )
