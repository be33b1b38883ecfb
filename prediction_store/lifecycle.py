r"""The life of a model's versions: opened, exported, promoted, and what may follow what.

Pure values and rules. `registry` keeps them in Bigtable.

    open -> exporting -> (receipt) -> promoted -> expired
      \________\____________________ aborted -> purged
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from prediction_store.layout import RowKeyFormat

RUN_LEASE = 6 * 3_600_000
"""How long a run holds its turn without a sign of life, in milliseconds: as long as a BigQuery query job may take."""

WRITE_LEASE = 30_000
"""How long a job may write without asking again, in milliseconds. It asks three times as often."""

CLOCK_TOLERANCE = 10_000
"""By how much the clocks of any two machines may differ, in milliseconds. Google's differ by far less."""


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
    """One version: its status, its receipt, and what the refresh noted of it (model, tables, metrics).

    Times are milliseconds since the epoch. `run` is the address of the Airflow run that opened it.
    """

    status: Status
    run: str = ""
    run_lease_until: int = 0  # the run's turn; no other opens a version before
    write_lease_until: int = 0  # jobs may write its cells until then
    has_cells: bool = False
    confirmed: bool = False  # the service was seen to answer from it
    receipt: Receipt | None = None
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelState:
    """Everything the registry knows of one model. Immutable: every step returns the state that follows.

    `keep_versions` versions (the active one among them) stay readable.
    """

    model: str
    entity_type: str
    row_keys: RowKeyFormat = "plain"
    keep_versions: int = 4
    active: int | None = None
    latest: int = 0
    versions: Mapping[int, VersionRecord] = field(default_factory=dict)

    @property
    def cells_per_row(self) -> int:
        """How many cells garbage collection must leave in a row.

        One for each version that stays readable, one for the version that is being exported, and one for each version
        above the active one: the cells of those are newer, and must not push out what is read.
        """
        above = [v for v, r in self.versions.items() if v > (self.active or 0) and r.has_cells]
        return self.keep_versions + 1 + len(above)

    def configure(self, settings: "ModelState") -> "ModelState":
        """Take over the settings of another state: entity type, row keys, versions to keep.

        Raises:
            RegistryError: the entity type or the row keys would change although versions exist.
        """
        if self.latest and (self.entity_type, self.row_keys) != (settings.entity_type, settings.row_keys):
            raise RegistryError(
                f"{self.model}: entity_type and row_keys cannot change from {self.entity_type!r}, "
                f"{self.row_keys!r} once versions exist; give the model a new name"
            )
        return replace(settings, active=self.active, latest=self.latest, versions=self.versions)._expire()

    def open(self, now: int, run: str = "") -> "ModelState":
        """Open a version, `latest` of the result: `now` in milliseconds, or just above the latest if that is newer.

        Opening a version shuts out all that were opened before and not promoted. A run that opens one again gets the
        same, as long as its export has not begun.

        Args:
            now: milliseconds since the epoch.
            run: who opens it, and from now on holds its turn; empty: nobody.

        Raises:
            RegistryError: it is another run's turn.
        """
        holder = self.run_lease_holder(now)
        if holder and holder != run:
            until = datetime.fromtimestamp(self.versions[self.latest].run_lease_until / 1000, UTC)
            raise RegistryError(
                f"{self.model}: version {self.latest} is being made by {holder}, whose turn ends {until:%F %H:%M} UTC "
                "unless it goes on; wait until it has ended"
            )
        latest = self.versions.get(self.latest)
        if run and latest is not None and latest.run == run and latest.status is Status.OPEN:
            return self.renew_run_lease(self.latest, now)
        version = max(now, self.latest + 1)
        record = VersionRecord(Status.OPEN, run=run, run_lease_until=now + RUN_LEASE if run else 0)
        return replace(self, latest=version, versions={**self.versions, version: record})

    def run_lease_holder(self, now: int) -> str | None:
        """The run whose turn it is: the one that makes the latest version, until it is confirmed or given up."""
        record = self.versions.get(self.latest)
        if record is None or record.confirmed or record.run_lease_until <= now:
            return None
        return record.run if record.status in (Status.OPEN, Status.EXPORTING, Status.PROMOTED) else None

    def renew_run_lease(self, version: int, now: int) -> "ModelState":
        """Say that the run of a version goes on: its turn lasts from now on as long as at first.

        Nothing changes where it is not its turn any more.
        """
        record = self._record(version)
        return self._with(version, _held(record, now)) if version == self.latest else self

    def release_run_lease(self, run: str) -> "ModelState":
        """Say that a run has ended: its turn is over."""
        record = self.versions.get(self.latest)
        return self._with(self.latest, replace(record, run_lease_until=0)) if record and record.run == run else self

    def note(self, version: int, **details: Any) -> "ModelState":
        """Add to the details of a version; a detail of the same name is replaced."""
        record = self._record(version)
        return self._with(version, replace(record, details={**record.details, **details}))

    def is_final(self, version: int) -> bool:
        """Whether what a version is computed from must not change any more: its export has begun.

        What was written is its difference from the active version, and what the next version is compared with.

        Raises:
            RegistryError: it may never be exported: a newer version was opened.
        """
        return self._record(version).has_cells or self._latest_record(version, "be computed").has_cells

    def begin_export(self, version: int) -> "ModelState":
        """Say that cells of a version are about to be written; forget the receipt of an earlier try.

        The cells to come push out, by garbage collection, all but the newest `keep_versions` promoted versions: the
        others expire here.
        """
        record = self._latest_record(version, "be exported")
        return self._expire()._with(version, replace(record, status=Status.EXPORTING, has_cells=True, receipt=None))

    def resume_export(self, version: int) -> "ModelState":
        """Begin the export of a version again if it had begun and was given up; else nothing changes."""
        record = self._record(version)
        return self.begin_export(version) if record.status is Status.ABORTED and record.has_cells else self

    def was_promoted(self, version: int) -> bool:
        """Whether a version was promoted, so that nothing of it may change any more."""
        return self._record(version).status in (Status.PROMOTED, Status.EXPIRED)

    def renew_write_lease(self, version: int, now: int, lease: int = WRITE_LEASE) -> "ModelState":
        """Let the jobs that export a version write for another `lease` milliseconds.

        Nothing changes while two thirds of that are left, so that many workers make few writes here.

        Raises:
            RegistryError: the export is not expected (any more).
        """
        self.require_exporting(version)
        record = self._record(version)
        if record.write_lease_until - now > lease * 2 // 3:
            return self
        return self._with(version, replace(_held(record, now), write_lease_until=now + lease))

    def quiet_at(self, version: int) -> int:
        """From when on nothing writes cells of the stale versions any more, in milliseconds since the epoch; 0: ever.

        Opening `version` has shut them out, so their jobs cannot ask for more time.
        """
        until = max((self.versions[stale].write_lease_until for stale in self.stale_versions(version)), default=0)
        return until + CLOCK_TOLERANCE if until else 0

    def stale_versions(self, version: int) -> list[int]:
        """The versions, other than this one, whose cells may lie above the active version and would be read."""
        floor = self.active or 0
        return sorted(v for v, r in self.versions.items() if v > floor and v != version and r.has_cells)

    def purged(self, version: int, *, above: int, began: int) -> "ModelState":
        """Say that all cells between version `above` and `version` have been deleted.

        Args:
            version: the version to be exported next.
            above: the active version when the purge began; 0: none.
            began: when it began to look for cells, in milliseconds since the epoch.

        Raises:
            RegistryError: the purge began before a promotion or rollback, or while jobs could still write such cells.
        """
        if above != (self.active or 0):
            raise RegistryError(f"{self.model}: purged above {above}, but {self.active} is active now; purge again")
        if began < self.quiet_at(version):
            stale = self.stale_versions(version)
            raise RegistryError(
                f"{self.model}: jobs of versions {stale} could still write when the purge began; purge again"
            )
        purged = {
            v: replace(self.versions[v], status=Status.PURGED, has_cells=False, receipt=None)
            for v in self.stale_versions(version)
        }
        return replace(self, versions={**self.versions, **purged})

    def require_exporting(self, version: int) -> None:
        """Make sure that an export of a version is expected.

        Raises:
            RegistryError: its export has not begun, or it was aborted, or a newer version was opened.
        """
        record = self._latest_record(version, "be exported")
        if record.status is not Status.EXPORTING:
            raise RegistryError(f"{self.model}: version {version} is {record.status}; begin its export first")

    def complete_export(self, version: int, receipt: Receipt) -> "ModelState":
        """Keep the receipt of a finished export."""
        self.require_exporting(version)
        return self._with(version, replace(self._record(version), receipt=receipt))

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

    def roll_back(self, to: int) -> "ModelState":
        """Make an earlier promoted version the active one again."""
        if to == self.active:
            return self
        targets = self.rollback_targets()
        if to not in targets:
            possible = ", ".join(map(str, targets)) or "none"
            raise RegistryError(f"{self.model}: cannot roll back from {self.active} to {to}; possible: {possible}")
        return replace(self, active=to)

    def confirm(self, version: int) -> "ModelState":
        """Say that the service was seen to answer from a version."""
        return self._with(version, replace(self._record(version), confirmed=True))

    def abort(self, version: int, previous: int | None) -> "ModelState":
        """Give up a version whose refresh failed; its cells, if any, stay until the next purge.

        Readers go back to the version before it (`previous`) if it is served and was never confirmed. A promoted
        version that was confirmed, or has been succeeded, is left alone: it is not what failed.
        """
        record = self._record(version)
        if record.status in (Status.PURGED, Status.EXPIRED):
            return self
        if record.status is Status.PROMOTED:
            if self.active != version or record.confirmed or previous is None:
                return self
            return self.roll_back(previous)._with(version, replace(record, status=Status.ABORTED))
        return self._with(version, replace(record, status=Status.ABORTED))

    def forget(self) -> "ModelState":
        """Drop the records of versions that can neither be read nor be exported, but for the last `keep_versions`."""
        dead = [v for v, r in self.versions.items() if v != self.latest and not self._matters(v, r)]
        dropped = set(sorted(dead, reverse=True)[self.keep_versions :])
        return replace(self, versions={v: r for v, r in self.versions.items() if v not in dropped})

    def to_json(self) -> bytes:
        """The state as a JSON document."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, document: bytes) -> "ModelState":
        """The inverse of `to_json`, also of earlier releases: a field that is missing has its default.

        A field that is not known is refused: a step that dropped what a later release keeps would undo it.

        Raises:
            RegistryError: the document is not one that `to_json` makes, or made.
        """
        try:
            fields = json.loads(document)
            versions = {int(v): _record_from(r) for v, r in fields.pop("versions").items()}
            return cls(versions=versions, **fields)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            problem = f"not a registry document that this release understands ({error})"
            raise RegistryError(f"{problem}: {document[:200]!r}") from error

    def _matters(self, version: int, record: VersionRecord) -> bool:
        """Whether a version can be served, or has cells that must be purged."""
        return record.status is Status.PROMOTED or (record.has_cells and version > (self.active or 0))

    def _expire(self) -> "ModelState":
        """Expire what garbage collection may take: all but the newest `keep_versions` versions up to the active one."""
        expiring = [v for v in self._promoted() if v <= (self.active or 0)][self.keep_versions :]
        expired = {v: replace(self.versions[v], status=Status.EXPIRED) for v in expiring}
        return replace(self, versions={**self.versions, **expired})

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


def _held(record: VersionRecord, now: int) -> VersionRecord:
    return replace(record, run_lease_until=now + RUN_LEASE) if record.run else record


_RENAMED = {"held_until": "run_lease_until", "writes_until": "write_lease_until"}
"""Fields of a version record under the names that 0.1.0 wrote them with."""


def _record_from(fields: dict[str, Any]) -> VersionRecord:
    fields = {_RENAMED.get(name, name): value for name, value in fields.items()}
    receipt = fields.get("receipt")
    return VersionRecord(
        **{**fields, "status": Status(fields["status"]), "receipt": None if receipt is None else Receipt(**receipt)}
    )
