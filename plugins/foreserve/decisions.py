"""What the registry keeps of a decision: what, by whom, why and when."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foreserve.airflow_compat import Context


class Outcome(StrEnum):
    """What came of a gate."""

    ACCEPTED = "accepted"
    OVERRIDDEN = "overridden"  # in the trigger form
    ASKED = "asked"  # no answer yet
    APPROVED = "approved"  # by the person who was asked
    KEPT_CHAMPION = "kept_champion"
    STOPPED = "stopped"

    @property
    def lets_through(self) -> bool:
        """Whether what the gate judged is used."""
        return self in (Outcome.ACCEPTED, Outcome.OVERRIDDEN, Outcome.APPROVED)


def triggered_by(context: Context) -> str:
    """Who triggered the run: the user, where Airflow knows (3.1 and later), or else how: `scheduled`, `manual`."""
    run = context["dag_run"]
    return getattr(run, "triggering_user_name", None) or str(getattr(run.run_type, "value", run.run_type))


def decided(context: Context, *, by: str | None = None, **what: Any) -> dict[str, Any]:
    """A decision as the registry keeps it.

    Args:
        context: of the task that decides.
        by: who decided; None: who triggered the run.
        what: the decision and its reasons.
    """
    return {
        **what,
        "by": by or triggered_by(context),
        "run_id": context["dag_run"].run_id,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
