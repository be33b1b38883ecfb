"""One refresh: its version, and the names of its BigQuery models and tables."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from prediction_store.warehouse import Kind, bigquery_name


class StatementError(Exception):
    """A statement that cannot be made from a pipeline's SQL files. Another try does not help."""


@dataclass(frozen=True, slots=True)
class Refresh:
    """A refresh, as its tasks share it.

    BigQuery models and tables are named PROJECT.DATASET.NAME. The name ends with the version. So a task that is tried
    again replaces what it made before, and two refreshes never share anything.

    Attributes:
        model: the model's name in the registry.
        version: the version that the refresh makes.
        dataset: PROJECT.DATASET of its BigQuery models and tables.
        active: the active version when the refresh began; None if there was none.
        champion_model: the BigQuery model that made the active version.
        active_predictions_table: the predictions of the active version.
        cutoff: the time before which data count for the refresh (ISO 8601).
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
        """The inverse of `to_xcom`. Keys that are not fields are ignored."""
        return cls(**{field.name: value[field.name] for field in fields(cls)})

    def to_xcom(self) -> dict[str, Any]:
        """The refresh as a dictionary of JSON values, which passes from task to task."""
        return asdict(self)

    @property
    def candidate_model(self) -> str:
        """The BigQuery model that this refresh trains."""
        return self._name("model")

    @property
    def metrics_table(self) -> str:
        """The metrics of the candidate and the champion on the same held-out rows: `role`, and `metrics` as JSON."""
        return self._name("metrics")

    @property
    def predictions_table(self) -> str:
        """All predictions of this version: `entity_id` and `payload`."""
        return self._name("predictions")

    @property
    def measures_table(self) -> str:
        """One row with the figures that the prediction gate judges."""
        return self._name("measures")

    @property
    def changes_table(self) -> str:
        """The differences from the active version: `entity_id` and `payload`, which is NULL for a tombstone."""
        return self._name("changes")

    def _name(self, kind: Kind) -> str:
        return bigquery_name(self.dataset, self.model, kind, self.version)
