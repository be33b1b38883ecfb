"""May a newly trained model (the candidate) take over from the one in use (the champion)?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Metrics = Mapping[str, float]


class MetricRule(BaseModel):
    """What a metric of the candidate must satisfy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum: float | None = Field(None, description="the least it may be")
    maximum: float | None = Field(None, description="the most it may be")
    max_drop: float | None = Field(None, ge=0, description="how far below the champion's it may be")
    max_rise: float | None = Field(None, ge=0, description="how far above the champion's it may be")

    @model_validator(mode="after")
    def _says_something(self) -> "MetricRule":
        if all(bound is None for bound in (self.minimum, self.maximum, self.max_drop, self.max_rise)):
            raise ValueError("give at least one of minimum, maximum, max_drop, max_rise")
        return self

    def breaches(self, metric: str, candidate: float, champion: float | None) -> list[str]:
        """What the candidate's value breaks, in words; the champion's is None where there is none."""
        found = []
        if self.minimum is not None and not candidate >= self.minimum:
            found.append(f"{metric} is {candidate:.4f}, below the minimum {self.minimum}")
        if self.maximum is not None and not candidate <= self.maximum:
            found.append(f"{metric} is {candidate:.4f}, above the maximum {self.maximum}")
        if champion is not None:
            if self.max_drop is not None and not candidate >= champion - self.max_drop:
                found.append(f"{metric} is {candidate:.4f}, more than {self.max_drop} below {champion:.4f}")
            if self.max_rise is not None and not candidate <= champion + self.max_rise:
                found.append(f"{metric} is {candidate:.4f}, more than {self.max_rise} above {champion:.4f}")
        return found


class QualityGate(BaseModel):
    """The rules by metric (a column of ML.EVALUATE), and what happens when one is broken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metrics: dict[str, MetricRule] = Field(min_length=1, description="what must hold of each")
    when_closed: Literal["keep_champion", "stop", "ask"] = Field(
        "keep_champion", description="predict with the model in use, stop the refresh, or ask a person in Airflow"
    )

    def decide(self, candidate: Metrics, champion: Metrics | None) -> "Decision":
        """Judge a candidate.

        Args:
            candidate: its metrics.
            champion: those of the model in use, on the same rows; None if there is none yet.

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
        return Decision(accepted=not breaches, reasons=breaches)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the candidate is accepted, and if not, why."""

    accepted: bool
    reasons: list[str]
