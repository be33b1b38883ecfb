"""The state of a version in words: the reason for it, and what can be done."""

from datetime import UTC, datetime

from foreserve_cli.stores import record_of
from prediction_store.details import newest_live_metrics
from prediction_store.lifecycle import ModelState, Status, VersionRecord


def ending(record: VersionRecord) -> str:
    """The ending of a version in one line: kind, task or person, and reason; empty if it has none."""
    ended, rollback = record.details.get("ended"), record.details.get("rollback")
    if ended is None:
        return ""
    author = ended.get("by") or (rollback["by"] if rollback and ended["kind"] == "rolled_back" else ended["task"])
    return f"{ended['kind'].replace('_', ' ')}{f' by {author}' if author else ''}: {ended['reason']}"


def live_quality(state: ModelState) -> list[str]:
    """The live metrics of the newest version that has any, beside its held-out ones, in lines; none if none has any."""
    found = newest_live_metrics({version: record.details for version, record in state.versions.items()})
    if found is None:
        return []
    version, live = found
    pairs = [
        f"{name} {number(value)} (held out {number(live['held_out'].get(name))})"
        for name, value in live["metrics"].items()
    ]
    lines = [f"Live metrics of {version}, {live['outcomes']:,} outcomes until {live['at']}: {', '.join(pairs)}."]
    if bins := live["calibration"]:
        shown = ", ".join(f"{number(each['predicted'])} → {number(each['observed'])}" for each in bins)
        lines.append(f"Calibration, predicted → observed: {shown}.")
    return [*lines, *(f"Breach: {breach}." for breach in live["breaches"])]


def number(value: float | None) -> str:
    """A metric for people."""
    return "none" if value is None else f"{value:.4g}"


def explain(state: ModelState, version: int, now: int) -> list[str]:
    """The reason for the state of a version, and what can be done, in sentences.

    Args:
        state: the model's state.
        version: the version.
        now: the current time, in milliseconds since the epoch.

    Raises:
        StoresError: the registry does not have the version.
    """
    record = record_of(state, version)
    lines = [_status(state, version, record, now)]
    if run := record.details.get("run"):
        lines.append(f"Its refresh was started by {run['by']} at {run['at']}.")
    if record.run:
        lines.append(f"Its run: {record.run}")
    for name, gate in (
        ("quality gate", record.details.get("quality_gate")),
        ("prediction gate", record.details.get("prediction_gate")),
    ):
        if gate is not None and gate["reasons"]:
            lines.append(f"The {name} ({gate['outcome'].replace('_', ' ')}): {'; '.join(gate['reasons'])}.")
    if ended := record.details.get("ended"):
        lines.append(f"It was {ending(record)} ({ended['at']})")
    if version in state.stale_versions(0) and not _is_promotable(state, version, record):
        lines.append("Its cells are stale: the next refresh purges them.")
    lines.append(_remedy(state, version, record))
    return lines


def _status(state: ModelState, version: int, record: VersionRecord, now: int) -> str:
    opened = datetime.fromtimestamp(version / 1000, UTC)
    subject = f"Version {version} of {state.model}, opened {opened:%F %T} UTC,"
    if version == state.active:
        promotion = record.details.get("promotion")
        if promotion is None:
            return f"{subject} is active."
        why = f": {promotion['why']}" if promotion.get("why") else ""
        return f"{subject} is active, promoted by {promotion['by']} at {promotion['at']}{why}."
    if version == state.latest and "ended" not in record.details and state.run_lease_holder(now):
        return f"{subject} is being made ({record.status}). Readers have {state.active or 'no version'}."
    return f"{subject} is {record.status}. Readers have {state.active or 'no version'}."


def _remedy(state: ModelState, version: int, record: VersionRecord) -> str:
    model = state.model
    if version == state.active:
        targets = state.rollback_targets()
        return f"Back to {targets[0]}: foreserve roll-back {model}" if targets else "There is no version to go back to."
    if version in state.rollback_targets():
        return f"It can be active again: foreserve roll-back {model} {version}"
    if state.was_promoted(version) and version in state.forward_targets():
        return f"Until the next refresh begins, it can be active again: foreserve promote {model} {version}"
    if _is_promotable(state, version, record):
        return f"It can be previewed with ?version={version}, and promoted: foreserve promote {model} {version}"
    return f"It cannot become active any more; a refresh makes a new version: refresh_{model} in Airflow."


def _is_promotable(state: ModelState, version: int, record: VersionRecord) -> bool:
    return not state.was_promoted(version) and record.status is not Status.ABORTED and state.is_readable(version)
