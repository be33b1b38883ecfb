"""The quality gate: the rules for the metrics of a newly trained BigQuery model, the candidate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Metrics = Mapping[str, float | None]
"""A BigQuery model's metrics. A metric may be NaN or None: `roc_auc` of rows of one class is undefined."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A rule of a gate, applied: whether it holds, and the rule and the measured values in words."""

    holds: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Bound:
    """One kind of bound on a metric.

    Attributes:
        rule: the bound in words.
        breach: the breach in words, after "METRIC is VALUE, ".
        is_minimum: true if the bound leads to a smallest value, false if it leads to a largest one.
        from_champion: 1 or -1 if the bound is added to or subtracted from the champion's value, 0 if it stands alone.
    """

    rule: str
    breach: str
    is_minimum: bool
    from_champion: int = 0

    def judge(self, metric: str, value: float, bound: float, champion: float | None) -> Judgement:
        """Judge a candidate's value. A bound that counts from the champion's value holds if that is None."""
        text, rule = f"{metric} is {value:.4f}", self.rule.format(bound)
        if self.from_champion and champion is None:
            return Judgement(holds=True, text=f"{text}, not compared with a champion ({rule})")
        limit = champion + self.from_champion * bound if self.from_champion and champion is not None else bound
        if not (value >= limit if self.is_minimum else value <= limit):
            return Judgement(holds=False, text=f"{text}, {self.breach.format(bound, champion)}")
        shown = f" {champion:.4f}" if self.from_champion else ""
        return Judgement(holds=True, text=f"{text}, {rule}{shown}, with a margin of {abs(value - limit):.4f}")


_BOUNDS = {
    "minimum": _Bound("at least {:g}", "below the minimum {}", is_minimum=True),
    "maximum": _Bound("at most {:g}", "above the maximum {}", is_minimum=False),
    "max_drop": _Bound(
        "at most {:g} below the champion's",
        "more than {} below the champion's {:.4f}",
        is_minimum=True,
        from_champion=-1,
    ),
    "max_rise": _Bound(
        "at most {:g} above the champion's",
        "more than {} above the champion's {:.4f}",
        is_minimum=False,
        from_champion=1,
    ),
}
"""The kinds of bounds, by field of `MetricRule`. A new kind is a field there and an entry here."""


class MetricRule(BaseModel):
    """The bounds of one metric of the candidate."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum: float | None = Field(None, description="smallest value")
    maximum: float | None = Field(None, description="largest value")
    max_drop: float | None = Field(None, ge=0, description="largest distance below the champion's value")
    max_rise: float | None = Field(None, ge=0, description="largest distance above the champion's value")

    @model_validator(mode="after")
    def _has_a_bound(self) -> "MetricRule":
        if not self._given():
            raise ValueError(f"give at least one of {', '.join(_BOUNDS)}")
        return self

    def in_words(self) -> str:
        """The rule in words, for documentation."""
        return ", ".join(_BOUNDS[kind].rule.format(bound) for kind, bound in self._given().items())

    def judge(self, metric: str, candidate: float | None, champion: float | None) -> list[Judgement]:
        """Judge the candidate by each bound. A value that is no finite number is a breach by itself.

        Args:
            metric: the metric's name.
            candidate: the candidate's value.
            champion: the champion's value. If it is no finite number, the bounds that count from it hold.
        """
        if candidate is None or not math.isfinite(candidate):
            value = "NULL" if candidate is None else candidate
            return [Judgement(holds=False, text=f"{metric} is {value}, but must be {self.in_words()}")]
        reference = champion if champion is not None and math.isfinite(champion) else None
        return [_BOUNDS[kind].judge(metric, candidate, bound, reference) for kind, bound in self._given().items()]

    def _given(self) -> dict[str, float]:
        bounds = {name: getattr(self, name) for name in _BOUNDS}
        return {name: bound for name, bound in bounds.items() if bound is not None}


class QualityGate(BaseModel):
    """The rules for the candidate's metrics, and the action on a breach."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: dict[str, MetricRule] = Field(min_length=1, description="rules by metric, a column of ML.EVALUATE")
    on_breach: Literal["keep_champion", "stop", "ask"] = Field(
        "keep_champion", description="predict with the champion, stop the refresh, or ask a person in Airflow"
    )

    def in_words(self) -> dict[str, str]:
        """The rules in words, by metric, for documentation."""
        return {metric: rule.in_words() for metric, rule in self.metrics.items()}

    def judge(self, candidate: Metrics, champion: Metrics | None) -> list[Judgement]:
        """Judge the candidate by each rule.

        Args:
            candidate: the candidate's metrics.
            champion: the champion's metrics on the same rows; None if there is no champion.

        Raises:
            ValueError: a rule names a metric that the evaluation does not have.
        """
        judgements: list[Judgement] = []
        for metric, rule in self.metrics.items():
            if metric not in candidate:
                known = ", ".join(sorted(candidate))
                raise ValueError(f"quality_gate.metrics: the evaluation has no metric {metric!r}; it has {known}")
            reference = None if champion is None else champion.get(metric)
            judgements += rule.judge(metric, candidate[metric], reference)
        return judgements

    def live_breaches(self, live: Metrics, held_out: Metrics) -> list[str]:
        """The rules that live metrics break, in words. The held-out metrics of the same model are the champion's.

        Args:
            live: the live metrics. A metric that is not among them is not judged.
            held_out: the metrics on held-out rows.
        """
        known = self.model_copy(update={"metrics": {name: rule for name, rule in self.metrics.items() if name in live}})
        breaches = [judgement.text for judgement in known.judge(live, held_out) if not judgement.holds]
        return [breach.replace("the champion's", "the held-out") for breach in breaches]
