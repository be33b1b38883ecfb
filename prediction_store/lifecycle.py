r"""The life of a model's versions: their states, and the transitions that are allowed.

Values are immutable and rules are pure. `registry` stores the values in Bigtable.

    open -> exporting -> (receipt) -> promoted -> expired
      \________\___________\__ ready __/
                 \___________\______ aborted -> purged

A ready version is complete, and waits for a person to promote it.

An export writes cells only while no other version has cells above the active one. So the cells of one export are the
only ones that garbage collection must keep besides those of readable versions.

All times are in milliseconds since the epoch.
"""

import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any, Unpack, cast, get_args

from prediction_store.details import Ending, EndingKind, VersionDetails, details_from_json, storable
from prediction_store.layout import RowKeyFormat

RUN_LEASE = 73 * 3_600_000
"""Duration of a run lease, in milliseconds: longer than any single step of a run.

BigQuery's quotas let CREATE MODEL run for 24 hours, and for 72 hours if it makes a time series or AutoML model or tunes
hyperparameters. A person who is asked has 24 hours.
"""

WRITE_LEASE = 30_000
"""Duration of a write lease, in milliseconds. Jobs renew it when a third has passed."""

SPARE_CELLS = 3
"""The number of cells per row that garbage collection keeps besides those of the readable versions.

One is for the version that is being exported. Two are for cells that were purged in one cluster of a replicated
instance, but not yet in another: that one may compact before the deletions arrive, and what it collects is deleted in
all clusters (https://docs.cloud.google.com/bigtable/docs/garbage-collection, "Replication").
"""

CLOCK_TOLERANCE = 10_000
"""Largest difference between the clocks of two machines, in milliseconds. Clocks in Google Cloud differ by far less."""

_MOST_AWAITED = 128
"""The largest number of versions that are remembered only because their outcomes are awaited."""

_LATEST_TIME = 253_402_300_799_999
"""The end of the year 9999, the last one that Python's times have, in milliseconds since the epoch."""


def now_ms() -> int:
    """The current time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


class RegistryError(Exception):
    """A transition that the model's state does not allow. Nothing was changed."""


class RegistryBusyError(RegistryError):
    """A transition that may be allowed later: another run has the run lease, or other writers were faster."""


class Status(StrEnum):
    """The state of a version."""

    OPEN = "open"
    EXPORTING = "exporting"
    READY = "ready"  # complete and tested, but not promoted; it can be until a newer version is opened
    PROMOTED = "promoted"
    EXPIRED = "expired"  # was promoted; garbage collection may have deleted its cells
    ABORTED = "aborted"
    PURGED = "purged"  # its cells have been deleted


@dataclass(frozen=True, slots=True)
class Receipt:
    """The numbers of cells that an export wrote: predictions and tombstones."""

    predictions: int
    tombstones: int


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """One version.

    Attributes:
        status: the version's state.
        run: the URL of the Airflow run that opened the version; empty if no run did.
        run_lease_until: the end of the run lease. No other run may open a version before.
        compared_with: the version that was active when the version was opened. Its changes are computed against that.
        has_cells: True from the beginning of the export until a purge.
        confirmed: True once the service has answered from the version.
        receipt: the counts of the finished export; None before its end.
        details: what the refresh recorded about the version: model, tables, metrics, decisions.
    """

    status: Status
    run: str = ""
    run_lease_until: int = 0
    compared_with: int | None = None
    has_cells: bool = False
    confirmed: bool = False
    receipt: Receipt | None = None
    details: VersionDetails = field(default_factory=VersionDetails)


@dataclass(frozen=True, slots=True)
class ServedInterval:
    """A time in which readers had a version, from `since` until before `until`, in milliseconds since the epoch."""

    version: int
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class ModelState:
    """Everything that the registry knows about one model. Each transition returns a new state.

    Attributes:
        model: the model's name.
        entity_type: the kind of its entities; names the table.
        row_keys: the format of its row keys.
        keep_versions: the number of versions that stay readable, the active one included.
        max_age_hours: the objective for the age of the active version.
        active: the active version; None before the first promotion.
        latest: the version that was opened last; 0 before the first.
        versions: the records of all versions that are remembered.
        served: the changes of the active version, oldest first: the time and the version, or None for none.
        write_lease_until: the end of the last write lease. No job writes cells after, unless it renews the lease. The
            registry keeps it beside the document, because it changes often.
    """

    model: str
    entity_type: str
    row_keys: RowKeyFormat = "plain"
    keep_versions: int = 4
    max_age_hours: float = 36
    active: int | None = None
    latest: int = 0
    versions: Mapping[int, VersionRecord] = field(default_factory=dict)
    served: tuple[tuple[int, int | None], ...] = ()
    write_lease_until: int = 0

    @property
    def cells_per_row(self) -> int:
        """The number of cells that garbage collection has to keep in each row.

        One for each version that stays readable, `SPARE_CELLS`, and one for each version with cells above the active
        version. Bigtable keeps the newest cells, so those would displace readable ones if `keep_versions` is lowered.
        """
        above = [v for v, r in self.versions.items() if v > (self.active or 0) and r.has_cells]
        return self.keep_versions + SPARE_CELLS + len(above)

    def configure(self, settings: "ModelState") -> "ModelState":
        """Adopt the settings of another state: entity type, row keys, number of versions to keep, and largest age.

        Raises:
            RegistryError: the entity type or the row keys would change although versions exist.
        """
        if self.latest and (self.entity_type, self.row_keys) != (settings.entity_type, settings.row_keys):
            raise RegistryError(
                f"{self.model}: entity_type and row_keys cannot change from {self.entity_type!r}, "
                f"{self.row_keys!r} once versions exist; give the model a new name"
            )
        return replace(
            settings,
            active=self.active,
            latest=self.latest,
            versions=self.versions,
            served=self.served,
            write_lease_until=self.write_lease_until,
        )._expire()

    def open(self, now: int, run: str = "") -> "ModelState":
        """Open a version. It is `latest` of the returned state.

        Its number is `now`, or one more than the latest version if that is higher. Earlier versions that were not
        promoted can no longer be exported or promoted. If the same run opens a version again before it has begun the
        export, it gets the same version.

        Args:
            now: the current time.
            run: the URL of the run, which gets the run lease; empty if no run opens the version.

        Raises:
            RegistryError: another run has the run lease.
        """
        holder = self.run_lease_holder(now)
        if holder and holder != run:
            until = datetime.fromtimestamp(self.versions[self.latest].run_lease_until / 1000, UTC)
            raise RegistryBusyError(
                f"{self.model}: version {self.latest} is being made by {holder}, whose lease ends {until:%F %H:%M} "
                "UTC unless the run renews it; wait until the run has ended"
            )
        latest = self.versions.get(self.latest)
        if run and latest is not None and latest.run == run and latest.status is Status.OPEN:
            again = replace(latest, compared_with=self.active)
            return self._with(self.latest, again).renew_run_lease(self.latest, now)
        version = max(now, self.latest + 1)
        lease = now + RUN_LEASE if run else 0
        record = VersionRecord(Status.OPEN, run=run, run_lease_until=lease, compared_with=self.active)
        before = self
        if latest is not None and latest.status is Status.READY:
            before = self._without_ending(self.latest, status=Status.ABORTED)
        if latest is not None and latest.status in (Status.OPEN, Status.EXPORTING, Status.READY):
            before = before._end(self.latest, "superseded", f"version {version} was opened", "", now)
        return replace(before, latest=version, versions={**before.versions, version: record})

    def adopt(self, lost: Iterable[int], now: int) -> "ModelState":
        """Add versions that the registry has lost. Their cells are stale, so they are purged before the next export.

        Args:
            lost: versions above the active one. Those that the registry has are ignored.
            now: the current time. Jobs that began before the loss may have write leases.
        """
        unknown = [version for version in lost if version > (self.active or 0) and version not in self.versions]
        if not unknown:
            return self
        adopted = dict.fromkeys(unknown, VersionRecord(Status.ABORTED, has_cells=True))
        until = max(self.write_lease_until, now + WRITE_LEASE)
        return replace(self, versions={**self.versions, **adopted}, write_lease_until=until)

    def run_lease_holder(self, now: int) -> str | None:
        """The run that has the run lease; None if no run has it.

        It is the run that opened the latest version, until that version is confirmed or aborted or the lease ends.
        """
        record = self.versions.get(self.latest)
        if record is None or record.confirmed or record.run_lease_until <= now:
            return None
        return record.run if record.status in (Status.OPEN, Status.EXPORTING, Status.PROMOTED) else None

    def renew_run_lease(self, version: int, now: int) -> "ModelState":
        """Renew the run lease for its full duration. Nothing changes if a newer version was opened."""
        record = self._record(version)
        if version != self.latest or not record.run:
            return self
        return self._with(version, replace(record, run_lease_until=now + RUN_LEASE))

    def release_run_lease(self, run: str) -> "ModelState":
        """End the run lease of a run that has ended. Nothing changes if another run has the lease."""
        record = self.versions.get(self.latest)
        return self._with(self.latest, replace(record, run_lease_until=0)) if record and record.run == run else self

    def note(self, version: int, **details: Unpack[VersionDetails]) -> "ModelState":
        """Add to the details of a version; a detail of the same name is replaced.

        Long texts are cut. NaN and infinity become None.
        """
        record = self._record(version)
        return self._with(version, replace(record, details={**record.details, **storable(details)}))

    def is_final(self, version: int) -> bool:
        """Return True if the version's predictions must not change any more, because its export has begun.

        The cells that were written are the difference between these predictions and those of the active version, and
        the next version is compared with them.

        Raises:
            RegistryError: the version can no longer be exported: a newer version was opened.
        """
        return self._record(version).has_cells or self._latest_record(version, "be computed").has_cells

    def begin_export(self, version: int) -> "ModelState":
        """Record that the export of a version begins, and drop the receipt and the ending of an earlier attempt.

        The new cells make garbage collection delete older ones. So all promoted versions but the newest
        `keep_versions` are marked as expired.

        Raises:
            RegistryError: the version was promoted or purged, a newer version was opened, or stale cells are left.
        """
        self._latest_record(version, "be exported")
        self._require_no_stale_cells(version)
        begun = self._without_ending(version, status=Status.EXPORTING, has_cells=True, receipt=None)
        return begun._expire()

    def resume_export(self, version: int) -> "ModelState":
        """Begin the export of a version unless it has begun. Nothing changes if the version was promoted.

        Raises:
            RegistryError: the version was purged, a newer version was opened, or stale cells are left.
        """
        if self.was_promoted(version):
            return self
        if self._record(version).status is not Status.EXPORTING:
            return self.begin_export(version)
        self.require_exporting(version)
        return self

    def was_promoted(self, version: int) -> bool:
        """Return True if the version was promoted. Nothing of such a version may change any more."""
        return self._record(version).status in (Status.PROMOTED, Status.EXPIRED)

    def renew_write_lease(self, version: int, now: int, lease: int = WRITE_LEASE) -> "ModelState":
        """Let the jobs that export a version write for another `lease` milliseconds.

        Nothing changes while more than two thirds of the lease are left, so that many workers cause few writes to the
        registry.

        Raises:
            RegistryError: no export of the version is expected.
        """
        self.require_exporting(version)
        if self.write_lease_until - now > lease * 2 // 3:
            return self
        return replace(self, write_lease_until=now + lease)

    def stale_writes_end(self, version: int) -> int:
        """The time after which no job can still write stale cells; 0 if no job can.

        The last lease was given before there were stale versions, because none is renewed while there are any.
        """
        return (
            self.write_lease_until + CLOCK_TOLERANCE if self.write_lease_until and self.stale_versions(version) else 0
        )

    def stale_versions(self, version: int) -> list[int]:
        """The versions, other than this one, that may have cells above the active version.

        Readers of this version would get those cells.
        """
        floor = self.active or 0
        return sorted(v for v, r in self.versions.items() if v > floor and v != version and r.has_cells)

    def begin_purge(self, version: int) -> "ModelState":
        """Check that the stale cells may be purged before the export of a version. Nothing changes.

        Raises:
            RegistryError: the version is ready. While no newer version is open, readers may get the stale cells again.
        """
        if self._record(version).status is Status.READY:
            raise RegistryError(f"{self.model}: version {version} is ready, so nothing is purged; start a new refresh")
        return self

    def mark_purged(self, version: int, *, above: int, began: int) -> "ModelState":
        """Record that all cells between the versions `above` and `version` have been deleted.

        Args:
            version: the version to be exported next.
            above: the active version when the purge began, or 0 if there was none.
            began: the time at which the purge began to look for cells.

        Raises:
            RegistryError: another version was made active since the purge began, a newer version was opened, or jobs
                could still write stale cells when the purge began.
        """
        if above != (self.active or 0):
            raise RegistryError(f"{self.model}: purged above {above}, but {self.active} is active now; purge again")
        if version != self.latest or self.was_promoted(version):
            raise RegistryError(f"{self.model}: version {version} is not about to be exported; latest is {self.latest}")
        if began < self.stale_writes_end(version):
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
        """Check that an export of a version is expected.

        Raises:
            RegistryError: the export has not begun, the version was aborted, a newer version was opened, or readers
                were rolled back, which leaves stale cells.
        """
        record = self._latest_record(version, "be exported")
        if record.status is not Status.EXPORTING:
            raise RegistryError(f"{self.model}: version {version} is {record.status}; begin its export first")
        self._require_no_stale_cells(version)

    def complete_export(self, version: int, receipt: Receipt) -> "ModelState":
        """Record the receipt of a finished export.

        Raises:
            RegistryError: no export of the version is expected.
        """
        self.require_exporting(version)
        return self._with(version, replace(self._record(version), receipt=receipt))

    def promote(self, version: int, *, expected_active: int | None, expected: Receipt) -> "ModelState":
        """Make a version the active one.

        Args:
            version: the version to promote.
            expected_active: the version that was active when the changes were computed; None if there was none.
            expected: the counts of the changes in BigQuery.

        Raises:
            RegistryError: the version is not complete, stale cells are left, a newer version was opened, or another
                version was made active since the changes were computed.
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
        if self.active != record.compared_with:
            raise RegistryError(
                f"{self.model}: version {version} was computed against active version {record.compared_with}, but "
                f"{self.active} is active now; start a new refresh"
            )
        return replace(self._without_ending(version, status=Status.PROMOTED), active=version)

    def rollback_targets(self) -> list[int]:
        """The versions that can be rolled back to, newest first."""
        return [v for v in self._promoted() if v < (self.active or 0)]

    def is_readable(self, version: int) -> bool:
        """Return True if a version has all its cells, and no other cells are read with it.

        Up to the active version, that holds for promoted versions that have not expired. Above it, it holds from the
        receipt of the export on, until a newer version is opened: then a purge may delete the cells.
        """
        record = self._record(version)
        if version <= (self.active or 0):
            return version == self.active or record.status is Status.PROMOTED
        return version == self.latest and record.receipt is not None and not self.stale_versions(version)

    def forward_targets(self) -> list[int]:
        """The versions above the active one that can be made active as they are, newest first.

        These are versions that readers were rolled back from, and a version that is ready. Once a newer version is
        open, there are none, because its run purges their cells.
        """
        latest = self.versions.get(self.latest)
        if latest is None or latest.status not in (Status.READY, Status.PROMOTED):
            return []
        is_ready = latest.status is Status.READY and not self.stale_versions(self.latest)
        return [self.latest] * is_ready + [v for v in self._promoted() if v > (self.active or 0)]

    def switch(self, to: int, *, reason: str, now: int, task: str = "") -> "ModelState":
        """Make another version the active one: roll back, or go forward to one of `forward_targets`.

        Args:
            to: the version that becomes active.
            reason: the reason, recorded with the version that readers leave if they are rolled back.
            now: the current time.
            task: the task that switches; empty if none does.

        Raises:
            RegistryError: `to` is neither one of `rollback_targets` nor of `forward_targets`.
        """
        if to not in self.forward_targets():
            return self.roll_back(to, reason=reason, now=now, task=task)
        record = self._record(to)
        if record.status is Status.PROMOTED:
            return replace(self._without_ending(to), active=to)
        counts = record.details["counts"]
        expected = Receipt(counts["written"], counts["tombstones"])
        return self.promote(to, expected_active=self.active, expected=expected).release_run_lease(record.run)

    def roll_back(self, to: int, *, reason: str, now: int, task: str = "") -> "ModelState":
        """Make an earlier promoted version the active one again.

        Args:
            to: the version that becomes active.
            reason: the reason, recorded with the version that readers leave.
            now: the current time.
            task: the task that rolls back; empty if none does.

        Raises:
            RegistryError: `to` is not one of `rollback_targets`.
        """
        if to == self.active:
            return self
        if self.active is None or to not in self.rollback_targets():
            status = f"is {self.versions[to].status}" if to in self.versions else "is not known"
            opened = f"; version {self.latest} was opened after it" if to < self.latest else ""
            possible = ", ".join(map(str, [*self.forward_targets(), *self.rollback_targets()])) or "none"
            raise RegistryError(
                f"{self.model}: readers cannot go from {self.active} to {to}, which {status}{opened}; "
                f"possible: {possible}; a refresh makes a new version"
            )
        return replace(self._end(self.active, "rolled_back", reason, task, now)._without_ending(to), active=to)

    def confirm(self, version: int) -> "ModelState":
        """Record that the service has answered from a version."""
        return self._with(version, replace(self._record(version), confirmed=True))

    def abort(self, version: int, previous: int | None, *, reason: str, now: int, task: str = "") -> "ModelState":
        """End a version whose refresh failed. Its cells, if any, stay until the next purge.

        If the version is active and was never confirmed, `previous` becomes active again. Nothing changes if the
        version was confirmed, or if another version is active by now: then it is not what failed.

        Args:
            version: the version to abort.
            previous: the version that was active before; None if there was none.
            reason: the reason, recorded unless the version's ending has been recorded.
            now: the current time.
            task: the task that failed; empty if none did.
        """
        record = self._record(version)
        if record.status in (Status.PURGED, Status.EXPIRED):
            return self
        going_on = self._without_ending(version) if record.status is Status.READY else self
        aborted = going_on._end(version, "aborted", reason, task, now)
        if record.status is Status.PROMOTED:
            if self.active != version or record.confirmed or previous is None:
                return self
            aborted = aborted.roll_back(previous, reason=reason, now=now, task=task)
        return aborted._with(version, replace(aborted.versions[version], status=Status.ABORTED))

    def hold(self, version: int, *, reason: str, now: int, task: str = "") -> "ModelState":
        """Record that the run of a version ends without promoting it. A complete version is ready from then on.

        Args:
            version: the version.
            reason: the reason.
            now: the current time.
            task: the task that holds the version; empty if none does.
        """
        held = self.refuse_promotion(version, reason=reason, now=now, task=task)
        record = held._record(version)
        # After a rollback, a purge may delete what readers could go forward to, and the changes are the wrong ones.
        may_promote = record.compared_with == self.active and not self.stale_versions(version)
        is_complete = record.status is Status.EXPORTING and record.receipt is not None and may_promote
        return held._with(version, replace(record, status=Status.READY)) if is_complete else held

    def refuse_promotion(self, version: int, *, reason: str, now: int, task: str = "") -> "ModelState":
        """Record that a version will not be promoted, and the reason. Nothing changes if it was promoted.

        Args:
            version: the version.
            reason: the reason.
            now: the current time.
            task: the task that refuses; empty if none does.
        """
        return self if self.was_promoted(version) else self._end(version, "not_promoted", reason, task, now)

    def forget(self, served_since: int | None = None) -> "ModelState":
        """Drop the records of versions that can be neither read nor exported, except the newest `keep_versions`.

        Their part of `served` is dropped, too, as far as it lies before what is kept. Of the newest versions whose
        outcomes are awaited, the details with which live metrics are compared are kept.

        Args:
            served_since: outcomes are awaited of what readers had from this time on; None: of nothing.
        """
        dead = [v for v, r in self.versions.items() if v != self.latest and not self._is_needed(v, r)]
        dropped = set(sorted(dead, reverse=True)[self.keep_versions :])
        remembered = {v: r for v, r in self.versions.items() if v not in dropped}
        intervals = [(version, end) for (_, version), (end, _) in pairwise(self.served)]
        since = math.inf if served_since is None else served_since
        awaited = {version for version, end in intervals if end >= since}
        measured = {v: _measurable(self.versions[v]) for v in sorted(dropped & awaited)[-_MOST_AWAITED:]}
        wanted = (place for place, (v, end) in enumerate(intervals) if v in remembered or end >= since)
        first = next(wanted, len(intervals))
        return replace(self, versions={**measured, **remembered}, served=self.served[first:])

    def serve(self, now: int) -> "ModelState":
        """Record in `served` that readers have the active version from now on."""
        return replace(self, served=(*self.served, (now, self.active)))

    def served_intervals(self, now: int) -> list[ServedInterval]:
        """The times in which readers had a version, oldest first. The last one ends now, if a version is active."""
        ends = [*(at for at, _ in self.served), now][1:]
        return [
            ServedInterval(version, since, until)
            for (since, version), until in zip(self.served, ends, strict=True)
            if version is not None
        ]

    def to_json(self) -> bytes:
        """The state as a JSON document, without `write_lease_until`. A lone surrogate in a text becomes `?`."""
        fields = asdict(self)
        del fields["write_lease_until"]
        return json.dumps(fields, separators=(",", ":"), allow_nan=False, ensure_ascii=False).encode(errors="replace")

    @classmethod
    def from_json(cls, document: bytes, write_lease_until: int | None = None) -> "ModelState":
        """The state in a JSON document that this release or an earlier one wrote. A missing field gets its default.

        An unknown field is an error. A later release wrote it, and a transition of this release would delete it.

        Args:
            document: the document.
            write_lease_until: the end of the last write lease; None: that in the document, where an earlier
                checkout kept it.

        Raises:
            RegistryError: the document is invalid or has an unknown field.
        """
        try:
            fields = json.loads(document, parse_constant=lambda _: None)  # earlier checkouts could write NaN
            records = {int(version): record for version, record in fields.pop("versions").items()}
            leases = [record.pop(name, 0) for record in records.values() for name in _WRITE_LEASES]
            versions = {version: _record_from(record) for version, record in records.items()}
            served = tuple((at, version) for at, version in fields.pop("served", ()))
            until = max(leases, default=0) if write_lease_until is None else write_lease_until
            state = cls(versions=versions, served=served, write_lease_until=until, **fields)
            _require_types(state)
            if b"\\ud" in document:
                json.dumps(fields | {"versions": records}, ensure_ascii=False).encode()  # raises at a lone surrogate
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            problem = f"not a registry document that this release understands ({error})"
            raise RegistryError(f"{problem}: {document[:200]!r}") from error
        return state

    def _is_needed(self, version: int, record: VersionRecord) -> bool:
        """Return True if the version can be read, or has cells that must be purged."""
        return record.status is Status.PROMOTED or (record.has_cells and version > (self.active or 0))

    def _expire(self) -> "ModelState":
        """Mark the versions whose cells garbage collection may delete.

        These are all promoted versions up to the active one, except the newest `keep_versions`.
        """
        expiring = [v for v in self._promoted() if v <= (self.active or 0)][self.keep_versions :]
        expired = {v: replace(self.versions[v], status=Status.EXPIRED) for v in expiring}
        return replace(self, versions={**self.versions, **expired})

    def _promoted(self) -> list[int]:
        """The promoted versions that can still be read, newest first."""
        return sorted((v for v, r in self.versions.items() if r.status is Status.PROMOTED), reverse=True)

    def _record(self, version: int) -> VersionRecord:
        if version not in self.versions:
            raise RegistryError(f"{self.model}: no version {version}; the registry has {sorted(self.versions)}")
        return self.versions[version]

    def _latest_record(self, version: int, action: str) -> VersionRecord:
        """The record of the latest version, the only one that may still change.

        Raises:
            RegistryError: a newer version was opened, or the version was promoted or purged.
        """
        record = self._record(version)
        if version != self.latest:
            raise RegistryError(f"{self.model}: version {version} cannot {action}: {self.latest} was opened after it")
        if record.status in (Status.PROMOTED, Status.EXPIRED, Status.PURGED):
            left = record.details.get("ended")
            reason = left and (left["reason"] or "no reason was given")
            why = f"; readers left it at {left['at']}: {reason}; the DAG roll_back goes forward to it" if left else ""
            raise RegistryError(f"{self.model}: version {version} cannot {action}: it is {record.status}{why}")
        return record

    def _require_no_stale_cells(self, version: int) -> None:
        """Check that no other version has cells above the active version.

        Raises:
            RegistryError: there are such cells. The message says how to get rid of them.
        """
        if stale := self.stale_versions(version):
            raise RegistryError(
                f"{self.model}: version {version} cannot be exported: cells of versions {stale} would be read with it; "
                "clear the task purge, which deletes them; if readers were rolled back since the run began, start a "
                "new run"
            )

    def _end(self, version: int, kind: EndingKind, reason: str, task: str, now: int) -> "ModelState":
        """Record the ending of a version, unless one is recorded."""
        if "ended" in self._record(version).details:
            return self
        at = datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="seconds")
        return self.note(version, ended=Ending(kind=kind, reason=reason, task=task, at=at))

    def _without_ending(self, version: int, **changes: Any) -> "ModelState":
        """Change the record of a version that goes on, and delete its ending."""
        record = self._record(version)
        details = {name: value for name, value in record.details.items() if name != "ended"}
        return self._with(version, replace(record, details=cast("VersionDetails", details), **changes))

    def _with(self, version: int, record: VersionRecord) -> "ModelState":
        return replace(self, versions={**self.versions, version: record})


def _measurable(record: VersionRecord) -> VersionRecord:
    """The record with only those details that live metrics are compared with, and the live metrics."""
    kept = {name: record.details[name] for name in ("metrics", "quality_gate", "live") if name in record.details}
    return replace(record, details=cast("VersionDetails", kept))


_RENAMED = {"held_until": "run_lease_until"}
"""Fields of a version record: the names that an earlier checkout wrote, and today's names."""

_WRITE_LEASES = ("writes_until", "write_lease_until")
"""Fields of a version record of an earlier checkout, which had a write lease for each version."""


def _require_types(state: ModelState) -> None:
    """Check the types of all fields, for readers of one model must not fail at the document of another.

    Raises:
        TypeError: a field has another type, or a number is not one of milliseconds up to the year 9999.
    """
    records = state.versions.values()
    texts = (state.model, state.entity_type, state.row_keys, *(record.run for record in records))
    flags = (flag for record in records for flag in (record.has_cells, record.confirmed))
    receipts = [record.receipt for record in records if record.receipt]
    numbers = [
        state.keep_versions,
        state.latest,
        state.write_lease_until,
        *state.versions,
        *(record.run_lease_until for record in records),
        *(number for receipt in receipts for number in (receipt.predictions, receipt.tombstones)),
        *(at for at, _ in state.served),
        *(n for n in (state.active, *(record.compared_with for record in records)) if n is not None),
        *(version for _, version in state.served if version is not None),
    ]
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(flag, bool) for flag in flags)
        and all(type(number) is int and 0 <= number <= _LATEST_TIME for number in numbers)
        and state.row_keys in get_args(RowKeyFormat)
        and type(state.max_age_hours) in (int, float)
        and state.max_age_hours > 0
    ):
        raise TypeError("a field has a value of another type")


def _record_from(fields: dict[str, Any]) -> VersionRecord:
    fields = {_RENAMED.get(name, name): value for name, value in fields.items()}
    receipt = fields.get("receipt")
    return VersionRecord(
        **{
            **fields,
            "status": Status(fields["status"]),
            "receipt": None if receipt is None else Receipt(**receipt),
            "details": details_from_json(fields.get("details", {})),
        }
    )
