"""May these predictions take over from those that are served?"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from foreserve.quality_gate import Decision

Measures = Mapping[str, int | float | None]
"""What `measures.sql` measured of the predictions, by the name of its column."""

JsonField = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class DriftRule(BaseModel):
    """How far the distribution of a number in the predictions may move away from that of the served ones.

    The population stability index compares the shares of two samples in bins of equal size of the first; by a common
    rule of thumb, below 0.1 nothing has changed, and above 0.25 a lot has (N. Siddiqi, Credit Risk Scorecards, 2006).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_psi: float = Field(gt=0, description="largest population stability index")
    bins: int = Field(10, ge=2, le=100, description="bins, each with the same share of the served predictions")


class Checks(BaseModel):
    """What must hold of the predictions, beside the rules that hold for all pipelines, and what happens otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_row_change: float | None = Field(
        0.5, ge=0, description="largest change in the number of predictions, as a share of the served version's"
    )
    max_changed: float | None = Field(
        None, ge=0, le=1, description="largest share of entities whose prediction is new, another, or gone"
    )
    drift: dict[JsonField, DriftRule] = Field(
        default_factory=dict, description="bounds by field of the predictions; the field must hold numbers"
    )
    max_payload_bytes: int = Field(100_000, gt=0, description="largest prediction, as JSON")
    when_closed: Literal["stop", "ask"] = Field("stop", description="stop the refresh, or ask a person in Airflow")

    def faults(self, measures: Measures, max_id_bytes: int) -> list[str]:
        """Why the predictions cannot be served at all, whoever wants them to be.

        Args:
            measures: of the predictions.
            max_id_bytes: the longest entity id that Bigtable can take.
        """
        of = {name: value or 0 for name, value in measures.items()}
        if not of["predictions"]:
            return ["there are no predictions"]
        faults = []
        if of["null_ids"]:
            faults.append(f"{of['null_ids']} predictions have no entity_id")
        if of["null_payloads"]:
            faults.append(f"{of['null_payloads']} predictions are NULL")
        if of["repeated_ids"]:
            faults.append(f"{of['repeated_ids']} rows repeat the entity_id of another")
        if of["shortest_id"] < 1 or of["longest_id"] > max_id_bytes:
            faults.append(
                f"an entity_id has 1 to {max_id_bytes} bytes; the shortest here has {of['shortest_id']}, "
                f"the longest {of['longest_id']}"
            )
        if of["longest_payload"] > self.max_payload_bytes:
            faults.append(
                f"checks.max_payload_bytes is {self.max_payload_bytes}; the longest prediction has "
                f"{of['longest_payload']}"
            )
        faults += [
            f"checks.drift.{field}: no prediction has a number in a field {field!r}; mind the spelling"
            for field in self.drift
            if f"numbers_{field}" in of and not of[f"numbers_{field}"]
        ]
        return faults

    def decide(self, measures: Measures) -> Decision:
        """Judge predictions that can be served.

        Measures that are missing or None are of a first version, or of a field that the served version does not have:
        there is nothing to compare with.
        """
        predictions, served = measures["predictions"], measures.get("served")
        changed = measures.get("changed_share")
        breaches = []
        if served and self.max_row_change is not None:
            change = abs((predictions or 0) - served) / served
            if change > self.max_row_change:
                breaches.append(
                    f"checks.max_row_change is {self.max_row_change}; there are {predictions} predictions, "
                    f"the served version has {served}"
                )
        if self.max_changed is not None and changed is not None and changed > self.max_changed:
            breaches.append(f"checks.max_changed is {self.max_changed}; {changed:.4f} of the predictions changed")
        for field, rule in self.drift.items():
            index = measures.get(f"psi_{field}")
            if index is not None and index > rule.max_psi:
                breaches.append(
                    f"checks.drift.{field}.max_psi is {rule.max_psi}; the population stability index is {index:.4f}"
                )
        return Decision(accepted=not breaches, reasons=breaches)
