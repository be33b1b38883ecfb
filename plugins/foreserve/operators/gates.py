"""The quality gate and the prediction gate as tasks."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Literal, cast

from foreserve.airflow_compat import AirflowFailException, AirflowSkipException, BaseOperator
from foreserve.operators.base import RefreshOperator, signed
from foreserve.operators.bigquery import why_not_compared
from foreserve.operators.human_approval import STOP, HumanApprovalOperator
from foreserve.prediction_gate import without_zeros
from prediction_store.details import GateDecision, Outcome, VersionDetails
from prediction_store.layout import MAX_ENTITY_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from foreserve.airflow_compat import Context
    from foreserve.prediction_gate import PredictionGate
    from foreserve.quality_gate import Judgement, QualityGate
    from prediction_store.details import Evaluation, Measures, Metrics

QUALITY_GATE = "quality_gate"
"""The id of the task with the quality gate."""

_KEPT = "kept_champion"
"""The key of the XCom with the breaches for which the champion was kept."""

OnBreach = Literal["keep_champion", "stop", "ask"]

_ACCEPTING: tuple[Outcome, ...] = ("accepted", "overridden", "approved")
_USE_CANDIDATE = "Use the candidate"
_KEEP_CHAMPION = "Keep the champion"
_USE_PREDICTIONS = "Use the predictions"
_OUTCOMES: dict[str, Outcome] = {
    _USE_CANDIDATE: "approved",
    _USE_PREDICTIONS: "approved",
    _KEEP_CHAMPION: "kept_champion",
    STOP: "stopped",
}


class ApplyGate(RefreshOperator, HumanApprovalOperator):  # type: ignore[misc]  # Airflow types template_fields in two ways
    """Finds breaches, acts on them as the pipeline or the trigger form says, and records the decision."""

    detail: Literal["quality_gate", "prediction_gate"]
    """The key of the decision in the version's details."""

    def __init__(self, *, on_breach: OnBreach, **kwargs: Any) -> None:
        """Apply a gate.

        Args:
            on_breach: the action on a breach.
            kwargs: those of `RefreshOperator` and `HumanApprovalOperator`.
        """
        super().__init__(**kwargs)
        self.on_breach = on_breach

    @abstractmethod
    def result(self, outcome: Outcome) -> str | None:
        """The BigQuery model or table that the refresh goes on with after an outcome; None if it must stop."""

    def decide(self, context: Context, judgements: Iterable[Judgement], options: Sequence[str]) -> str:
        """Log each judgement, decide, and record the decision; return the result.

        Args:
            context: the context of the task.
            judgements: the rules with the measured values.
            options: the answers that a person may choose from, besides to stop.

        Raises:
            AirflowFailException: the refresh must stop.
        """
        params, breaches = context["params"], []
        for judgement in judgements:
            self.log.info("%s: %s", "holds" if judgement.holds else "breach", judgement.text)
            if not judgement.holds:
                breaches.append(judgement.text)
        if not breaches:
            return self.settle(context, "accepted", breaches)
        if params["override_gates"]:
            return self.settle(context, "overridden", breaches, why=params["reason"])
        if self.on_breach == "ask":
            self._record(context, "asked", breaches, None)
            self.ask(context, "\n".join(["Breaches:", "", *(f"- {breach}" for breach in breaches)]), options)
        keeps = self.on_breach == "keep_champion" and self.result("kept_champion")
        return self.settle(context, "kept_champion" if keeps else "stopped", breaches)

    def answered(self, context: Context, option: str, by: str, why: str) -> str:
        """Act on a person's answer."""
        with self.registry() as registry:
            details = registry.get(self.refresh.model).versions[self.refresh.version].details
        outcome = _OUTCOMES.get(option, "stopped")  # a question of an earlier release may have other answers
        return self.settle(context, outcome, details[self.detail]["reasons"], by=by, why=why)

    def settle(
        self, context: Context, outcome: Outcome, reasons: Sequence[str], *, by: str | None = None, why: str = ""
    ) -> str:
        """Record a final decision; return the result.

        Args:
            context: the context of the task.
            outcome: the outcome.
            reasons: the breaches or errors in words.
            by: the person who decided; None: who triggered the run.
            why: the reason that a person gave.

        Raises:
            AirflowFailException: the refresh must stop.
        """
        result = None if outcome == "stopped" else self.result(outcome)
        self._record(context, outcome, reasons, result, by=by, why=why)
        breaches = "; ".join(reasons)
        if result is None:
            raise AirflowFailException(f"stopped by the {self.detail}: {breaches}")
        self.log.info("%s: %s%s", outcome, result, breaches and f"; {breaches}")
        if outcome == "kept_champion":
            context["ti"].xcom_push(key=_KEPT, value=breaches)
        return result

    def _record(
        self,
        context: Context,
        outcome: Outcome,
        reasons: Sequence[str],
        result: str | None,
        *,
        by: str | None = None,
        why: str = "",
    ) -> None:
        decision: GateDecision = {
            "outcome": outcome,
            "accepted": outcome in _ACCEPTING,
            "reasons": list(reasons),
            "result": result,
            "why": why,
            **signed(context, by),
        }
        details: VersionDetails = {}
        details[self.detail] = decision
        self.step(lambda state: state.note(self.refresh.version, **details))


class ApplyQualityGate(ApplyGate):
    """Compares the candidate with the rules and the champion; returns the BigQuery model to predict with."""

    detail = "quality_gate"

    def __init__(self, *, gate: QualityGate, **kwargs: Any) -> None:
        """Apply `gate`; `kwargs` are those of `RefreshOperator`."""
        super().__init__(
            on_breach=gate.on_breach,
            subject="The candidate breaches rules of the quality gate. Use it?",
            options=[_USE_CANDIDATE, _KEEP_CHAMPION],
            **kwargs,
        )
        self.gate = gate

    def execute(self, context: Context) -> str:
        """Read the metrics, record them, and decide.

        Raises:
            AirflowFailException: the refresh must stop, or the evaluation does not have what the gate needs.
        """
        refresh = self.refresh
        metrics: dict[str, Metrics] = {}
        for row in self.cloud.bigquery().query_and_wait(f"SELECT role, metrics FROM `{refresh.metrics_table}`"):
            if row.role in metrics:
                raise AirflowFailException(
                    f"ML.EVALUATE returns more than one row for the {row.role}, as it does for some models that tune "
                    "hyperparameters; the quality gate needs one"
                )
            metrics[row.role] = metrics_from_json(row.metrics)
        if "candidate" not in metrics:
            raise AirflowFailException(
                "ML.EVALUATE returns no row for the candidate; check that evaluate.sql returns rows"
            )
        evaluation = cast("Evaluation", metrics)
        self.step(lambda state: state.note(refresh.version, metrics=evaluation))
        for role, values in metrics.items():
            self.log.info("%s: %s", role, ", ".join(f"{name} {value}" for name, value in values.items()))
        if "champion" not in metrics and refresh.champion_model and context["params"]["compare"]:
            reason = why_not_compared(self.cloud.bigquery(), refresh)
            self.log.warning("the candidate is not compared with the champion: %s", reason)
        try:
            judgements = self.gate.judge(evaluation["candidate"], evaluation.get("champion"))
        except ValueError as error:
            raise AirflowFailException(str(error)) from error
        options = [_USE_CANDIDATE, _KEEP_CHAMPION] if refresh.champion_model else [_USE_CANDIDATE]
        return self.decide(context, judgements, options)

    def result(self, outcome: Outcome) -> str | None:
        """The BigQuery model to predict with."""
        return self.refresh.candidate_model if outcome in _ACCEPTING else self.refresh.champion_model


def metrics_from_json(row: str) -> Metrics:
    """The columns of ML.EVALUATE that are numbers or NULL. BigQuery's JSON has NaN and infinity as strings."""
    metrics: Metrics = {}
    for name, value in json.loads(row).items():
        if value is None:
            metrics[name] = None
        elif value in ("NaN", "Infinity", "-Infinity") or type(value) in (int, float):
            metrics[name] = float(value)
    return metrics


class NameKeptChampion(BaseOperator):
    """Succeeds if the quality gate kept the champion, and is skipped otherwise.

    So Airflow's lists of runs show which runs kept the champion. Such a run is a success, and a task cannot write the
    note of its run without a password for Airflow's API.
    """

    def execute(self, context: Context) -> str:
        """Log and return the breaches.

        Raises:
            AirflowSkipException: the champion was not kept.
        """
        reason: str | None = context["ti"].xcom_pull(task_ids=QUALITY_GATE, key=_KEPT)
        if reason is None:
            raise AirflowSkipException("the champion was not kept")
        self.log.warning("the champion was kept: %s", reason)
        return reason


class ApplyPredictionGate(ApplyGate):
    """Judges the predictions, by themselves and against the active version; returns their table."""

    detail = "prediction_gate"

    def __init__(self, *, gate: PredictionGate, **kwargs: Any) -> None:
        """Apply `gate`; `kwargs` are those of `RefreshOperator`."""
        super().__init__(
            on_breach=gate.on_breach,
            subject="The predictions breach rules of the prediction gate. Use them?",
            options=[_USE_PREDICTIONS],
            **kwargs,
        )
        self.gate = gate

    def execute(self, context: Context) -> str:
        """Read the measures, record them, and decide.

        Raises:
            AirflowFailException: the predictions have errors, or the refresh must stop.
        """
        refresh = self.refresh
        rows = self.cloud.bigquery().query_and_wait(f"SELECT * FROM `{refresh.measures_table}`")
        measures: Measures = dict(next(iter(rows)).items())
        state = self.step(lambda state: state.note(refresh.version, measures=without_zeros(measures)))
        self.log.info(", ".join(f"{name} {value}" for name, value in without_zeros(measures).items()))
        if errors := self.gate.errors(measures, MAX_ENTITY_ID_BYTES):
            return self.settle(context, "stopped", errors)
        active = None if refresh.active is None else state.versions[refresh.active].details.get("measures")
        return self.decide(context, self.gate.judge(measures, active), [_USE_PREDICTIONS])

    def result(self, outcome: Outcome) -> str | None:
        """The table of the predictions."""
        return self.refresh.predictions_table if outcome in _ACCEPTING else None
