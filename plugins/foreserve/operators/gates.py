"""The gates: on a newly trained model, and on its predictions."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal

from foreserve.airflow_compat import AirflowFailException
from foreserve.decisions import Outcome, decided
from foreserve.operators.base import RefreshOperator
from foreserve.operators.human_approval import STOP, AskingOperator
from prediction_store.layout import MAX_ENTITY_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from foreserve.airflow_compat import Context
    from foreserve.prediction_gate import Checks
    from foreserve.quality_gate import QualityGate

WhenClosed = Literal["keep_champion", "stop", "ask"]

_USE = "Use the new model"
_KEEP = "Keep the model in use"
_SERVE = "Serve these predictions"


class Gate(RefreshOperator, AskingOperator):  # type: ignore[misc]  # Airflow types template_fields in two ways
    """Judges, acts as the pipeline or the trigger form says where a rule is broken, and records the decision."""

    detail: str
    """The name under which the registry keeps the decision, among the version's details."""

    def __init__(self, *, when_closed: WhenClosed, **kwargs: Any) -> None:
        """Act as `when_closed` says where a rule is broken."""
        super().__init__(**kwargs)
        self.when_closed = when_closed

    @abstractmethod
    def result(self, outcome: Outcome) -> str | None:
        """What the following tasks go on with after an outcome; None: they must not."""

    def act(self, context: Context, breaches: Sequence[str], options: Sequence[str]) -> str:
        """Decide, given the rules that are broken; `options`: what a person might choose.

        Raises:
            AirflowFailException: the refresh must stop.
        """
        params = context["params"]
        if not breaches:
            return self._settle(context, Outcome.ACCEPTED, breaches)
        if params["override_gates"]:
            return self._settle(context, Outcome.OVERRIDDEN, breaches, why=params["reason"])
        if self.when_closed == "ask":
            self._record(context, Outcome.ASKED, breaches)
            problem = "\n".join(["Broken rules:", "", *(f"- {breach}" for breach in breaches)])
            self.ask(context, problem, options)
        keeps = self.when_closed == "keep_champion" and self.result(Outcome.KEPT_CHAMPION)
        return self._settle(context, Outcome.KEPT_CHAMPION if keeps else Outcome.STOPPED, breaches)

    def answered(self, context: Context, option: str, by: str, why: str) -> str:
        """Act on a person's answer."""
        with self.cloud.registry() as registry:
            details = registry.get(self.current.model).versions[self.current.version].details
        outcomes = {STOP: Outcome.STOPPED, _KEEP: Outcome.KEPT_CHAMPION}
        outcome = outcomes.get(option, Outcome.APPROVED)
        return self._settle(context, outcome, details[self.detail]["reasons"], by=by, why=why)

    def note(self, **details: Any) -> None:
        """Add to what the registry keeps of the version."""
        with self.cloud.registry() as registry:
            registry.update(self.current.model, lambda state: state.note(self.current.version, **details))

    def _settle(
        self, context: Context, outcome: Outcome, reasons: Sequence[str], *, by: str | None = None, why: str = ""
    ) -> str:
        result = None if outcome is Outcome.STOPPED else self.result(outcome)
        self._record(context, outcome, reasons, result=result, by=by, why=why)
        broken = "; ".join(reasons)
        if result is None:
            raise AirflowFailException(f"the {self.task_id} is closed: {broken}")
        self.log.info("%s: %s%s", outcome, result, broken and f"; {broken}")
        return result

    def _record(
        self, context: Context, outcome: Outcome, reasons: Sequence[str], *, by: str | None = None, **what: str | None
    ) -> None:
        accepted = outcome.lets_through
        record = decided(context, by=by, outcome=outcome, accepted=accepted, reasons=list(reasons), **what)
        self.note(**{self.detail: record})


class CheckQuality(Gate):
    """Compares the candidate with the champion; returns the name of the model to predict with."""

    detail = "gate"

    def __init__(self, *, gate: QualityGate, **kwargs: Any) -> None:
        """Judge by `gate`."""
        subject = "The new model breaks rules of the pipeline. Use it?"
        super().__init__(when_closed=gate.when_closed, subject=subject, options=[_USE, _KEEP], **kwargs)
        self.gate = gate

    def execute(self, context: Context) -> str:
        """Decide, and record the decision with its numbers."""
        refresh = self.current
        rows = self.cloud.bigquery().query_and_wait(f"SELECT * FROM `{refresh.evaluation_table}`")
        metrics: dict[str, dict[str, float]] = {}
        for row in rows:
            values = dict(row.items())
            role = values.pop("role")
            metrics[role] = {name: float(value) for name, value in values.items() if value is not None}
        self.note(metrics=metrics)
        for role, values in metrics.items():
            self.log.info("%s: %s", role, ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
        decision = self.gate.decide(metrics["candidate"], metrics.get("champion"))
        return self.act(context, decision.reasons, [_USE, _KEEP] if refresh.champion_model else [_USE])

    def result(self, outcome: Outcome) -> str | None:
        """The model to predict with."""
        refresh = self.current
        return refresh.candidate_model if outcome.lets_through else refresh.champion_model


class CheckPredictions(Gate):
    """Judges the predictions, in themselves and against those that are served; returns their table."""

    detail = "checks"

    def __init__(self, *, checks: Checks, **kwargs: Any) -> None:
        """Judge by `checks`."""
        subject = "The predictions are not as the pipeline expects. Serve them?"
        super().__init__(when_closed=checks.when_closed, subject=subject, options=[_SERVE], **kwargs)
        self.checks = checks

    def execute(self, context: Context) -> str:
        """Decide, and record the decision with its numbers.

        Raises:
            AirflowFailException: the predictions cannot be served, or must not be.
        """
        rows = self.cloud.bigquery().query_and_wait(f"SELECT * FROM `{self.current.checks_table}`")
        measures: Mapping[str, int | float | None] = dict(next(iter(rows)).items())
        self.note(measures=measures)
        self.log.info(", ".join(f"{name} {value}" for name, value in measures.items()))
        if faults := self.checks.faults(measures, MAX_ENTITY_ID_BYTES):
            return self._settle(context, Outcome.STOPPED, faults)
        return self.act(context, self.checks.decide(measures).reasons, [_SERVE])

    def result(self, outcome: Outcome) -> str | None:
        """The predictions."""
        return self.current.predictions_table if outcome.lets_through else None
