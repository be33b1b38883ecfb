"""Changes of versions by a person: shown first, made by the steps that the DAGs use, and recorded with who and why."""

import getpass
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from foreserve_cli.comparison import difference, expected_receipt
from foreserve_cli.explanation import number
from foreserve_cli.stores import Stores, StoresError, record_of
from prediction_store import decisions
from prediction_store.decisions import require_shown, shown
from prediction_store.details import Metrics, Promotion, Rollback, Signed
from prediction_store.lifecycle import ModelState, RegistryError, Status, VersionRecord, now_ms


@dataclass(frozen=True, slots=True)
class Action:
    """A change that a person may want.

    Attributes:
        shown: the state that the person was shown.
        version: the version that the change is about.
        effects: the changes and what speaks for or against them, one line each.
        step: makes the change; gets a state and the reason.
    """

    shown: ModelState
    version: int
    effects: Sequence[str]
    step: Callable[[ModelState, str], ModelState]

    def perform(self, stores: Stores, reason: str) -> ModelState:
        """Make the change; return the new state.

        Raises:
            LostRaceError: the versions are no longer as they were shown.
            RegistryError: the change is not allowed.
        """

        def step(state: ModelState) -> ModelState:
            require_shown(state, self.version, shown(self.shown, self.version))
            return self.step(state, reason)

        return stores.registry().update(self.shown.model, step)


def promote(stores: Stores, state: ModelState, version: int) -> Action:
    """The promotion of a complete version, or of one again from which readers were rolled back.

    Raises:
        RegistryError: the version cannot be promoted.
        StoresError: the registry does not have the version, or BigQuery no longer has its table of changes.
    """
    record = record_of(state, version)
    if version == state.active:
        raise RegistryError(f"{state.model}: version {version} is active already")
    if record.status is Status.ABORTED:
        reason = record.details["ended"]["reason"] if "ended" in record.details else "no reason is recorded"
        raise RegistryError(f"{state.model}: version {version} was aborted ({reason}); run a refresh instead")
    if "ended" not in record.details and (run := state.run_lease_holder(now_ms())):
        raise RegistryError(f"{state.model}: version {version} is being made by {run}, which promotes it itself")
    is_again = state.was_promoted(version) and version in state.forward_targets()
    expected = record.receipt if is_again else expected_receipt(stores, state, version)
    previous = state.active

    def step(state: ModelState, reason: str) -> ModelState:
        promotion: Promotion = {"previous": previous, "why": reason, **signed()}
        if is_again or expected is None:
            promoted = state.switch(version, reason=reason, now=now_ms())
        else:
            promoted = state.promote(version, expected_active=previous, expected=expected)
        return promoted.note(version, promotion=promotion).release_run_lease(record.run)

    step(state, "")
    effects = [_readers(state, version), *_written(record), *_quality(record), _smoke_test(record)]
    return Action(state, version, effects, step)


def roll_back(stores: Stores, state: ModelState, to: int | None) -> Action:
    """The rollback to an earlier version; None: to the newest that is possible.

    Raises:
        RegistryError: the version cannot be rolled back to.
    """
    targets, targets_forward = state.rollback_targets(), state.forward_targets()
    forward = f"to go forward, run foreserve promote {state.model}"
    left = state.active
    if to is None:
        if not targets:
            way_out = f"{forward} {targets_forward[0]}" if targets_forward else "a refresh makes a new version"
            raise RegistryError(f"{state.model} has no version that can be rolled back to; {way_out}")
        to = targets[0]
    if to in targets_forward:
        raise RegistryError(f"{state.model}: version {to} was opened after the active one; {forward} {to}")
    if left is None or to == left:
        raise RegistryError(
            f"{state.model}: version {to} is active already" if left else f"{state.model}: none is active"
        )
    target = to

    def step(state: ModelState, reason: str) -> ModelState:
        rollback: Rollback = {"to": target, "why": reason, **signed()}
        return state.roll_back(target, reason=reason, now=now_ms()).note(left, rollback=rollback)

    step(state, "")
    try:
        between = difference(stores, state, left, target)
        differs = (
            f"{between.changed:,} predictions change back, {between.only_first:,} vanish, "
            f"{between.only_second:,} come back, {between.same:,} stay."
        )
    except StoresError as error:
        differs = f"The predictions cannot be compared: {error}"
    stale = f"The cells of version {left} stay until the next refresh purges them."
    return Action(state, left, [_readers(state, target), differs, stale], step)


def abort(state: ModelState, version: int) -> Action:
    """The end of a version that was not promoted.

    Raises:
        RegistryError: the version was promoted, or has ended.
        StoresError: the registry does not have the version.
    """
    record = record_of(state, version)

    def step(state: ModelState, reason: str) -> ModelState:
        return decisions.abort(state, version, reason, signed())

    step(state, "")
    effects = [
        f"Version {version} ({record.status}) ends. Readers keep {state.active or 'no version'}.",
        *_written(record),
        "Its cells stay until the next refresh purges them." if record.has_cells else "It has no cells.",
        f"Its run goes on until its next step: {record.run}; mark it as failed in Airflow." if record.run else "",
    ]
    return Action(state, version, [effect for effect in effects if effect], step)


def release(state: ModelState) -> Action:
    """The end of the run lease of a run that is lost.

    Raises:
        RegistryError: no run has the run lease.
    """

    def step(state: ModelState, reason: str) -> ModelState:
        return decisions.release(state, reason, signed())

    step(state, "")
    version = state.latest
    effects = [
        f"The run lease of {state.run_lease_holder(now_ms())} ends, so that another run may open a version.",
        f"Once it does, version {version} ({state.versions[version].status}) can no longer be promoted.",
    ]
    return Action(state, version, effects, step)


def signed() -> Signed:
    """The signature of a decision that a person makes now: the user and the machine that run this command."""
    by = f"{getpass.getuser()}@{socket.gethostname()}"
    return {"by": by, "run_id": "", "at": datetime.now(UTC).isoformat(timespec="seconds")}


def span(milliseconds: float) -> str:
    """A duration for people, in its largest unit."""
    for seconds, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if milliseconds >= 2 * seconds * 1000:
            return f"{milliseconds / 1000 / seconds:.0f} {unit}"
    return f"{milliseconds / 1000:.0f} seconds"


def _readers(state: ModelState, version: int) -> str:
    if state.active is None:
        return f"Readers get version {version}. They have none now."
    promotion = state.versions[state.active].details.get("promotion")
    since = datetime.fromisoformat(promotion["at"]).timestamp() * 1000 if promotion else state.active
    return f"Readers get version {version} instead of {state.active}, which they have had for {span(now_ms() - since)}."


def _written(record: VersionRecord) -> list[str]:
    counts = record.details.get("counts")
    if counts is None:
        return []
    line = (
        f"Of {counts['predictions']:,} predictions, {counts['written']:,} differ from the active version and "
        f"{counts['unchanged']:,} do not; {counts['tombstones']:,} vanish."
    )
    return [line]


def _quality(record: VersionRecord) -> list[str]:
    lines = []
    if metrics := record.details.get("metrics"):
        champion: Metrics = metrics.get("champion") or {}
        pairs = [f"{name} {number(value)}{_against(name, champion)}" for name, value in metrics["candidate"].items()]
        lines.append(f"Metrics of the candidate: {', '.join(pairs)}.")
    gates = {
        "quality gate": record.details.get("quality_gate"),
        "prediction gate": record.details.get("prediction_gate"),
    }
    for name, gate in gates.items():
        if gate is not None:
            breaches = f": {'; '.join(gate['reasons'])}" if gate["reasons"] else ""
            lines.append(f"The {name}: {gate['outcome'].replace('_', ' ')}{breaches}.")
    return lines


def _against(name: str, champion: Mapping[str, float | None]) -> str:
    return f" (champion {number(champion[name])})" if name in champion else ""


def _smoke_test(record: VersionRecord) -> str:
    result = record.details.get("smoke_test")
    if result is None:
        return "There was no smoke test."
    return (
        f"Smoke test: p99 {result['p99_ms']:g} ms (objective {result['objective_p99_ms']:g} ms), "
        f"{result['errors']} errors, {result['mismatches']} wrong answers."
    )
