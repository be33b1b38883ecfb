"""The prediction gate: the rules for the predictions of a version, before they are exported."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from foreserve.quality_gate import Judgement
from prediction_store.details import Measures

PLAIN_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
"""The name of a field that SQL need not quote."""

JsonField = Annotated[str, StringConstraints(pattern=PLAIN_NAME)]

_FEWEST_FOR_CONSTANT = 100
"""Number of predictions from which on equal values are a breach. A few predictions may well be equal."""

_MAX_NULL_RISE = 0.1
"""Largest rise of the share of predictions in which a field is NULL."""


class DriftRule(BaseModel):
    """The largest drift of a number in the predictions from its distribution in the active version.

    The population stability index compares the shares of two samples in bins of equal size of the first; by a common
    rule of thumb, below 0.1 nothing has changed, and above 0.25 a lot has (N. Siddiqi, Credit Risk Scorecards, 2006).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_psi: float = Field(gt=0, description="largest population stability index")
    bins: int = Field(
        10, ge=2, le=100, description="bins, each with the same share of the active version's predictions"
    )


class PredictionGate(BaseModel):
    """The rules for the predictions, besides those of every pipeline, and the action on a breach."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_row_change: float | None = Field(
        0.5, ge=0, description="largest change in the number of predictions, as a share of the active version's"
    )
    max_changed: float | None = Field(
        None, ge=0, le=1, description="largest share of entities whose prediction is new, different, or gone"
    )
    drift: dict[JsonField, DriftRule] = Field(
        default_factory=dict, description="rules by field of the predictions; the field must hold numbers"
    )
    unchecked_fields: list[JsonField] = Field(
        default_factory=list,
        description="fields that may be NULL, or equal in all predictions; any other field may not",
    )
    max_payload_bytes: int = Field(100_000, gt=0, description="largest prediction, as JSON")
    allow_non_finite: bool = Field(
        default=False,
        description='accept NaN and infinity in predictions, which are served as "NaN", "Infinity", "-Infinity"',
    )
    on_breach: Literal["stop", "ask"] = Field("stop", description="stop the refresh, or ask a person in Airflow")

    def in_words(self) -> list[str]:
        """The rules that compare with the active version, in words, for documentation."""
        rules = []
        if self.max_row_change is not None:
            rules.append(f"their number changes by at most {self.max_row_change:.0%}")
        if self.max_changed is not None:
            rules.append(f"at most {self.max_changed:.0%} of them change")
        free = ", ".join(f"`{field}`" for field in self.unchecked_fields)
        rules.append(
            f"no field{free and f' but {free}'} is NULL or equal in all of them, or newly NULL in more than "
            f"{_MAX_NULL_RISE:.0%}"
        )
        return rules + [
            f"the population stability index of `{field}` is at most {rule.max_psi:g}"
            for field, rule in self.drift.items()
        ]

    def errors(self, measures: Measures, max_id_bytes: int) -> list[str]:
        """The errors that make the predictions unusable, in words. No person can override them.

        Args:
            measures: the measures of the predictions.
            max_id_bytes: the longest entity id that Bigtable can store, in bytes.
        """
        counts = {name: value or 0 for name, value in measures.items()}
        if not counts["predictions"]:
            return ["there are no predictions"]
        errors = []
        if counts["null_ids"]:
            errors.append(f"predictions without an entity_id: {counts['null_ids']}")
        if counts["null_payloads"]:
            errors.append(f"predictions that are NULL: {counts['null_payloads']}")
        if counts["repeated_ids"]:
            errors.append(f"rows that repeat the entity_id of another: {counts['repeated_ids']}")
        if counts["shortest_id"] < 1 or counts["longest_id"] > max_id_bytes:
            errors.append(
                f"an entity_id has 1 to {max_id_bytes} bytes; the shortest here has {counts['shortest_id']}, "
                f"the longest {counts['longest_id']}"
            )
        if counts["longest_payload"] > self.max_payload_bytes:
            errors.append(
                f"prediction_gate.max_payload_bytes is {self.max_payload_bytes}; the longest prediction has "
                f"{counts['longest_payload']}"
            )
        if counts["non_finite"] and not self.allow_non_finite:
            errors.append(
                f"{counts['non_finite']} predictions contain NaN or infinity, which JSON has as text only; replace "
                "them in predict.sql, or set prediction_gate.allow_non_finite"
            )
        for field in self.drift:
            if f"numbers_{field}" in counts and not counts[f"numbers_{field}"]:
                is_null = counts.get(f"nulls_{field}") == counts["predictions"]
                reason = "is NULL in all predictions; correct" if is_null else "is a number in none; check its name and"
                errors.append(f"prediction_gate.drift.{field}: the field {reason} predict.sql")
        return errors

    def judge(self, measures: Measures, active: Measures | None = None) -> Iterator[Judgement]:
        """Judge predictions that have no errors, by each rule.

        A measure that is missing or None has nothing to compare with: there is no active version, or it does not have
        the field.

        Args:
            measures: the measures of the predictions.
            active: the measures of the active version, as the registry has them; None if it has none.
        """
        predictions, served = measures["predictions"] or 0, measures.get("served")
        if served and self.max_row_change is not None:
            change = abs(predictions - served) / served
            rule = f"prediction_gate.max_row_change is {self.max_row_change}"
            text = f"{rule}; there are {predictions} predictions, the active version has {served}"
            yield Judgement(change <= self.max_row_change, text)
        changed = measures.get("changed_share")
        if self.max_changed is not None and changed is not None:
            rule = f"prediction_gate.max_changed is {self.max_changed}"
            yield Judgement(changed <= self.max_changed, f"{rule}; {changed:.4f} of the predictions changed")
        for field, drift in self.drift.items():
            index = measures.get(f"psi_{field}")
            if index is not None:
                rule = f"prediction_gate.drift.{field}.max_psi is {drift.max_psi}"
                text = f"{rule}; the population stability index is {index:.4f}"
                yield Judgement(index <= drift.max_psi, text)  # NaN is a breach
        yield from self._judge_fields(measures, active)

    def _judge_fields(self, measures: Measures, active: Measures | None) -> Iterator[Judgement]:
        predictions = measures["predictions"] or 0
        way_out = "correct predict.sql, or add the field to prediction_gate.unchecked_fields"
        breaches = []
        for name, nulls in measures.items():
            field = name.removeprefix("nulls_")
            if field == name or field in self.unchecked_fields or nulls is None:
                continue
            before = _null_share(active, field)
            if nulls == predictions:
                breaches.append(f"the field {field} is NULL in all {predictions} predictions")
            elif measures.get(f"constant_{field}") and not nulls and predictions >= _FEWEST_FOR_CONSTANT:
                breaches.append(f"the field {field} has the same value in all {predictions} predictions")
            elif before is not None and nulls / predictions - before > _MAX_NULL_RISE:
                now = f"the field {field} is NULL in {nulls / predictions:.1%} of the predictions"
                breaches.append(f"{now}, and in {before:.1%} of the active version's")
        yield from (Judgement(holds=False, text=f"{breach}; {way_out}") for breach in breaches)
        if not breaches and "fields" in measures:
            yield Judgement(holds=True, text=f"none of {measures['fields']} fields is NULL or equal in all predictions")


def _null_share(measures: Measures | None, field: str) -> float | None:
    """The share of predictions in which a field is NULL; None if it is not known."""
    if not measures or "fields" not in measures or not measures["predictions"]:
        return None
    return (measures.get(f"nulls_{field}") or 0) / measures["predictions"]


def without_zeros(measures: Measures) -> Measures:
    """The measures without the fields' counts that are zero, which the registry need not keep."""
    return {name: value for name, value in measures.items() if value or not name.startswith(("nulls_", "constant_"))}
