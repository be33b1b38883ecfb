"""One refresh: its version, and the names of the BigQuery objects that belong to it."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Refresh:
    """What the tasks of a refresh share. Passed from task to task as a dictionary, by XCom.

    Tables and models are named PROJECT.DATASET.NAME, and after the version, so a task that is retried replaces what it
    made before, and two refreshes never share anything. Data from `cutoff` on (ISO 8601) do not count for it.
    """

    model: str
    version: int
    dataset: str
    active: int | None = None
    champion_model: str | None = None
    active_predictions_table: str | None = None
    cutoff: str = field(kw_only=True)

    @classmethod
    def from_xcom(cls, value: dict[str, Any]) -> Self:
        """The inverse of `to_xcom`."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})

    def to_xcom(self) -> dict[str, Any]:
        """The refresh as JSON values."""
        return asdict(self)

    @property
    def candidate_model(self) -> str:
        """The BigQuery ML model that this refresh trains."""
        return self._name("model")

    @property
    def evaluation_table(self) -> str:
        """Metrics of the candidate and the champion on the same held-out rows: one row each, told by `role`."""
        return self._name("evaluation")

    @property
    def predictions_table(self) -> str:
        """Every prediction of this version: `entity_id` and `payload`."""
        return self._name("predictions")

    @property
    def checks_table(self) -> str:
        """One row of what the predictions are judged by."""
        return self._name("checks")

    @property
    def changes_table(self) -> str:
        """What differs from the active version: `entity_id` and `payload`, NULL where the prediction vanished."""
        return self._name("changes")

    def _name(self, kind: str) -> str:
        return f"{self.dataset}.{self.model}_{kind}_{self.version}"


def version_of(name: str, model: str) -> int | None:
    """The version that a table or model name belongs to; None if it is not one that a refresh of `model` makes."""
    kind, _, version = name.removeprefix(f"{model}_").partition("_")
    known = kind in ("model", "evaluation", "predictions", "checks", "changes")
    return int(version) if name.startswith(f"{model}_") and known and version.isdigit() else None
