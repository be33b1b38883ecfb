"""The prediction gate: the rules for the predictions of a version, before they are exported."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from prediction_store.details import Measures

JsonField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


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
            errors.append(f"{counts['null_ids']} predictions have no entity_id")
        if counts["null_payloads"]:
            errors.append(f"{counts['null_payloads']} predictions are NULL")
        if counts["repeated_ids"]:
            errors.append(f"{counts['repeated_ids']} rows repeat the entity_id of another")
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
        errors += [
            f"prediction_gate.drift.{field}: no prediction has a number in a field {field!r}; check the spelling"
            for field in self.drift
            if f"numbers_{field}" in counts and not counts[f"numbers_{field}"]
        ]
        return errors

    def breaches(self, measures: Measures) -> list[str]:
        """The breaches in words; none if the predictions are accepted.

        A measure that is missing or None has nothing to compare with: there is no active version, or it does not have
        the field.

        Args:
            measures: the measures of predictions that have no errors.
        """
        predictions, served = measures["predictions"], measures.get("served")
        changed = measures.get("changed_share")
        breaches = []
        if served and self.max_row_change is not None:
            change = abs((predictions or 0) - served) / served
            if change > self.max_row_change:
                breaches.append(
                    f"prediction_gate.max_row_change is {self.max_row_change}; there are {predictions} predictions, "
                    f"the active version has {served}"
                )
        if self.max_changed is not None and changed is not None and not changed <= self.max_changed:
            breaches.append(
                f"prediction_gate.max_changed is {self.max_changed}; {changed:.4f} of the predictions changed"
            )
        for field, rule in self.drift.items():
            index = measures.get(f"psi_{field}")
            if index is not None and not index <= rule.max_psi:  # NaN is a breach
                breaches.append(
                    f"prediction_gate.drift.{field}.max_psi is {rule.max_psi}; the population stability index is "
                    f"{index:.4f}"
                )
        return breaches
