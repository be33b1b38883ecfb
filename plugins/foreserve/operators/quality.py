"""The quality gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from foreserve.operators.base import RefreshOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from foreserve.gate import QualityGate


class CheckQuality(RefreshOperator):
    """Compares the candidate with the champion; returns the name of the model to predict with."""

    def __init__(self, *, gate: QualityGate, **kwargs: Any) -> None:
        """Judge by `gate`."""
        super().__init__(**kwargs)
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
        decision = self.gate.decide(metrics["candidate"], metrics.get("champion"))
        champion = refresh.champion_model if self.gate.when_closed == "keep_champion" else None
        model = refresh.candidate_model if decision.accepted else champion
        record = {"accepted": decision.accepted, "reasons": decision.reasons, "predict_with": model}
        with self.cloud.registry() as registry:
            registry.update(refresh.model, lambda state: state.note(refresh.version, metrics=metrics, gate=record))
        for role, values in metrics.items():
            self.log.info("%s: %s", role, ", ".join(f"{name} {value:.4f}" for name, value in values.items()))
        if model is None:
            raise AirflowFailException(f"the quality gate is closed: {'; '.join(decision.reasons)}")
        self.log.info("predicting with %s%s", model, "".join(f"; {reason}" for reason in decision.reasons))
        return model
