"""The quality gate: the rules for the metrics of a newly trained BigQuery model, the candidate."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Metrics = Mapping[str, float | None]
"""A BigQuery model's metrics. A metric may be NaN or None: `roc_auc` of rows of one class is undefined."""


@dataclass(frozen=True, slots=True)
class _Bound:
    """One kind of bound on a metric.

    Attributes:
        holds: the test, given the candidate's value, the bound, and the champion's value. All three are finite.
        rule: the bound in words.
        breach: the breach in words, after "METRIC is VALUE, ".
        is_relative: true if the bound counts from the champion's value.
    """

    holds: Callable[[float, float, float], bool]
    rule: str
    breach: str
    is_relative: bool = False


_BOUNDS = {
    "minimum": _Bound(lambda value, bound, _: value >= bound, "at least {:g}", "below the minimum {}"),
    "maximum": _Bound(lambda value, bound, _: value <= bound, "at most {:g}", "above the maximum {}"),
    "max_drop": _Bound(
        lambda value, bound, champion: value >= champion - bound,
        "at most {:g} below the champion's",
        "more than {} below the champion's {:.4f}",
        is_relative=True,
    ),
    "max_rise": _Bound(
        lambda value, bound, champion: value <= champion + bound,
        "at most {:g} above the champion's",
        "more than {} above the champion's {:.4f}",
        is_relative=True,
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

    def breaches(self, metric: str, candidate: float | None, champion: float | None) -> list[str]:
        """The breaches in words. A candidate's value that is no finite number is a breach by itself.

        Args:
            metric: the metric's name.
            candidate: the candidate's value.
            champion: the champion's value. If it is no finite number, the bounds that count from it are left out.
        """
        if candidate is None or not math.isfinite(candidate):
            return [f"{metric} is {'NULL' if candidate is None else candidate}, but must be {self.in_words()}"]
        reference = champion if champion is not None and math.isfinite(champion) else None
        return [
            f"{metric} is {candidate:.4f}, {kind.breach.format(bound, reference)}"
            for kind, bound in ((_BOUNDS[name], bound) for name, bound in self._given().items())
            if not (kind.is_relative and reference is None) and not kind.holds(candidate, bound, reference or 0.0)
        ]

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

    def breaches(self, candidate: Metrics, champion: Metrics | None) -> list[str]:
        """The breaches in words; none if the candidate is accepted.

        Args:
            candidate: the candidate's metrics.
            champion: the champion's metrics on the same rows; None if there is no champion.

        Raises:
            ValueError: a rule names a metric that the evaluation does not have.
        """
        breaches: list[str] = []
        for metric, rule in self.metrics.items():
            if metric not in candidate:
                known = ", ".join(sorted(candidate))
                raise ValueError(f"quality_gate.metrics: the evaluation has no metric {metric!r}; it has {known}")
            reference = None if champion is None else champion.get(metric)
            breaches += rule.breaches(metric, candidate[metric], reference)
        return breaches
