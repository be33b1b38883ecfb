"""The decisions of a person about versions, as tasks of the DAGs in `dags/decisions.py`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from foreserve.airflow_compat import AirflowFailException
from foreserve.operators.base import CloudOperator, check_conf, signed
from prediction_store import decisions
from prediction_store.details import Promotion, Rollback
from prediction_store.lifecycle import ModelState, RegistryError, now_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from foreserve.airflow_compat import Context


class ChooseVersion(CloudOperator):
    """Chooses the version that becomes active; returns it."""

    template_fields: Sequence[str] = ("model", "version")

    def __init__(self, *, model: str, version: str, **kwargs: Any) -> None:
        """Choose a version.

        Args:
            model: the model's name.
            version: the version; empty: the version before the active one.
            kwargs: those of `CloudOperator`.
        """
        super().__init__(**kwargs)
        self.model = model
        self.version = version

    def execute(self, context: Context) -> int:
        """Return the version.

        Raises:
            AirflowFailException: a choice is wrong, the registry does not have the model, or there is no earlier
                version.
        """
        check_conf(context)
        with self.registry() as registry:
            state = registry.get(self.model)
        if self.version:
            return int(self.version)
        if targets := state.rollback_targets():
            return targets[0]
        forward = ", ".join(map(str, state.forward_targets()))
        ways = f"name {forward} to go forward, or start a refresh" if forward else "start a refresh"
        raise AirflowFailException(f"{self.model} has no earlier version to roll back to; {ways}")


class SwitchVersion(CloudOperator):
    """Makes another version the active one: an earlier one, one that readers were rolled back from, or a ready one."""

    template_fields: Sequence[str] = ("model", "version", "shown")

    def __init__(self, *, model: str, version: Any, shown: str = "null", **kwargs: Any) -> None:
        """Switch to a version.

        Args:
            model: the model's name.
            version: the version that becomes active, as a number or its digits.
            shown: the state that a person was shown, as JSON (`prediction_store.decisions.shown`); `null`: any.
            kwargs: those of `CloudOperator`.
        """
        super().__init__(**kwargs)
        self.model = model
        self.version = version
        self.shown = shown

    def execute(self, context: Context) -> None:
        """Switch, and record a rollback with the version that readers leave, or a promotion with the one they get.

        Raises:
            AirflowFailException: the registry does not have the model, the version cannot become active, or the
                versions are no longer as they were shown.
        """
        to, why, now = int(self.version), context["params"]["reason"] or "", now_ms()

        def switch(state: ModelState) -> ModelState:
            _require_shown(state, to, self.shown)
            left = state.active
            switched = state.switch(to, reason=why, now=now, task=self.task_id)
            if left == to:
                return switched
            if left is not None and left > to:
                return switched.note(left, rollback=Rollback(to=to, why=why, **signed(context)))
            return switched.note(to, promotion=Promotion(previous=left, why=why, **signed(context)))

        with self.registry() as registry:
            state = registry.update(self.model, switch)
        self.log.info("%s is served from version %s", self.model, state.active)


class DecideVersion(CloudOperator):
    """Makes another decision of a person about a version, which `prediction_store.decisions` defines."""

    template_fields: Sequence[str] = ("model", "version", "shown")

    def __init__(
        self,
        *,
        decision: Literal["abort", "release"],
        model: str,
        version: str,
        shown: str = "null",
        **kwargs: Any,
    ) -> None:
        """Decide.

        Args:
            decision: abort the version, or end the run lease of the run that makes it.
            model: the model's name.
            version: the version, as digits.
            shown: as for `SwitchVersion`.
            kwargs: those of `CloudOperator`.
        """
        super().__init__(**kwargs)
        self.decision = decision
        self.model = model
        self.version = version
        self.shown = shown

    def execute(self, context: Context) -> None:
        """Change the registry, and record who decided, and why.

        Raises:
            AirflowFailException: a choice is wrong, the reason is empty, the registry refuses the decision, or the
                versions are no longer as they were shown.
        """
        check_conf(context)
        version, reason, who = int(self.version), context["params"]["reason"], signed(context)
        if not reason.strip():
            raise AirflowFailException("the reason is empty; trigger the DAG with the reason, which is recorded")

        def decide(state: ModelState) -> ModelState:
            _require_shown(state, version, self.shown)
            if self.decision == "abort":
                return decisions.abort(state, version, reason, who)
            if version != state.latest:
                raise RegistryError(f"{state.model}: {state.latest} was opened after version {version}")
            return decisions.release(state, reason, who)

        with self.registry() as registry:
            state = registry.update(self.model, decide)
        self.log.info("version %d of %s is %s", version, self.model, state.versions[version].status)


def _require_shown(state: ModelState, version: int, expected: str) -> None:
    if (known := json.loads(expected)) is not None:
        decisions.require_shown(state, version, known)
