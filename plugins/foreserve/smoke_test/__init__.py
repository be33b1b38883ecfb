"""The smoke test of a new version before its promotion: lookups at a set rate, every answer compared with BigQuery's.

`load_test` sends the lookups, `comparison` compares the answers, `report` makes the page with the latencies. The task
is `RunSmokeTest` in `foreserve.operators.smoke_test`.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field


class SmokeTest(BaseModel):
    """The load on the lookup service before a promotion, and its objective."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests: int = Field(1_000, ge=100, description="number of lookups; fewer than 100 have no 99th percentile")
    rate: float = Field(100, gt=0, description="lookups a second")
    objective_p99_ms: float = Field(100, gt=0, description="largest 99th percentile of the latency, in milliseconds")

    def with_choices(self, params: Mapping[str, Any]) -> Self:
        """Return the smoke test of a run.

        Args:
            params: the run's parameters. Those called `smoke_test_FIELD` replace the fields, unless they are None.
        """
        choices = {name: params[f"smoke_test_{name}"] for name in type(self).model_fields}
        return self.model_validate(
            {**self.model_dump(), **{name: value for name, value in choices.items() if value is not None}}
        )
