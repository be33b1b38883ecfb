"""Decisions of a person about versions. They are made only while the versions are as the person was shown."""

from dataclasses import asdict
from typing import Any

from prediction_store.details import Ending, Release, Signed
from prediction_store.lifecycle import ModelState, RegistryError, Status, now_ms


class LostRaceError(RegistryError):
    """The model's versions are no longer as they were shown. Nothing was changed."""


def shown(state: ModelState, version: int) -> dict[str, Any]:
    """The part of a state that a person is shown before a decision about a version, as JSON values.

    Renewals of leases do not matter. The page in Airflow makes the same from `GET /v1/models`.
    """
    record = state.versions.get(version)
    return {
        "active": state.active,
        "latest": state.latest,
        "status": None if record is None else str(record.status),
        "receipt": None if record is None or record.receipt is None else asdict(record.receipt),
        "ended": None if record is None else record.details.get("ended"),
    }


def require_shown(state: ModelState, version: int, expected: dict[str, Any]) -> None:
    """Check that a model's versions are as a person was shown.

    Raises:
        LostRaceError: they have changed since.
    """
    now = shown(state, version)
    if now == expected:
        return
    if now["active"] != expected["active"]:
        change = f"version {now['active']} is active instead of {expected['active']}"
    elif now["latest"] != expected["latest"]:
        change = f"version {now['latest']} was opened"
    else:
        change = f"version {version} is {now['status'] or 'gone'}"
    raise LostRaceError(
        f"{state.model}: lost a race: meanwhile {change}. Nothing was changed; look at the versions again"
    )


def abort(state: ModelState, version: int, reason: str, signed: Signed) -> ModelState:
    """End a version that was not promoted, such as one whose run is stuck.

    Raises:
        RegistryError: the registry does not have the version, or it was promoted, or has ended.
    """
    record = state.versions.get(version)
    if record is None or record.status not in (Status.OPEN, Status.EXPORTING, Status.READY):
        status = "not known" if record is None else record.status
        hint = "; a rollback leaves it" if version == state.active else ""
        raise RegistryError(f"{state.model}: version {version} is {status}, and cannot be aborted{hint}")
    aborted = state.abort(version, state.active, reason=reason, now=now_ms())
    ended: Ending = {"kind": "aborted", "reason": reason, "task": "", "at": signed["at"], "by": signed["by"]}
    return aborted.note(version, ended=ended)


def release(state: ModelState, reason: str, signed: Signed) -> ModelState:
    """End the run lease of a run that is lost, so that another run may open a version.

    Raises:
        RegistryError: no run has the run lease.
    """
    run = state.run_lease_holder(now_ms())
    if run is None:
        raise RegistryError(f"{state.model}: no run has the run lease; a refresh can be started")
    released: Release = {"run": run, "why": reason, **signed}
    return state.release_run_lease(run).note(state.latest, released=released)
