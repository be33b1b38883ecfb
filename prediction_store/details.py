"""The details of a version: the JSON object that a refresh records with its version in the registry.

Airflow's tasks write the details. The lookup service, its page and the report of the local stack show them. Each key is
optional: a task adds it as soon as its value is known.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict, cast

Outcome = Literal["accepted", "overridden", "asked", "approved", "kept_champion", "stopped"]
"""The outcome of a gate: `overridden` by the trigger form; `approved`, `kept_champion` or `stopped` by a person who was
asked; `asked` until that person has answered."""

Metrics = dict[str, float | None]
"""A BigQuery model's metrics, by column of ML.EVALUATE. The registry has None for NaN and infinity, too."""

Measures = Mapping[str, int | float | None]
"""Figures of the predictions that the prediction gate judges, by column of the measures table."""


class Signed(TypedDict):
    """A decision's author, run and time (ISO 8601, UTC). `run_id` is empty if a person decided by the command line."""

    by: str
    run_id: str
    at: str


class RunDetails(Signed):
    """The start of a refresh, and the choices in its trigger form."""

    choices: dict[str, Any]


class Evaluation(TypedDict):
    """The metrics of the candidate, and of the champion if the two were compared."""

    candidate: Metrics
    champion: NotRequired[Metrics]


class GateDecision(Signed):
    """The decision of a gate.

    Attributes:
        outcome: the outcome.
        accepted: true if the refresh goes on with what the gate judged.
        reasons: the breaches, one sentence each.
        result: the BigQuery model or table that the refresh goes on with; None if it stops.
        why: the reason that a person gave; empty if none.
    """

    outcome: Outcome
    accepted: bool
    reasons: list[str]
    result: str | None
    why: str


class Counts(TypedDict):
    """The number of predictions, and of the cells that make the version from the active one."""

    predictions: int
    written: int
    tombstones: int
    unchanged: int


class SmokeTestResult(TypedDict):
    """The figures of a smoke test. Latencies are in milliseconds, `rate` is in lookups a second.

    Attributes:
        verdict: `passed`, `wrong`, `errors` or `slow`; `late` or `unconnected` if the load generator was to blame.
        service_p99_ms: the 99th percentile by the service's own account; None if it gave none.
        lag_p99_ms: the 99th percentile of the time for which the load generator was stalled during a lookup.
        latency_report: the address of the page with all figures.
    """

    verdict: NotRequired[str]
    requests: int
    errors: int
    mismatches: int
    examples: list[str]
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    service_p99_ms: NotRequired[float | None]
    lag_p99_ms: NotRequired[float]
    rate: float
    objective_p99_ms: float
    latency_report: NotRequired[str]


class Promotion(Signed):
    """The promotion of the version. `previous` is the version that was active before, `why` a person's reason."""

    previous: int | None
    why: NotRequired[str]


class Rollback(Signed):
    """The rollback from this version to the version `to`, and the reason that a person gave."""

    to: int
    why: str


EndingKind = Literal["aborted", "not_promoted", "rolled_back", "superseded"]
"""The kind of a version's ending: its refresh failed, its promotion was refused, readers were rolled back from it, or a
newer version was opened before it was promoted."""


class Ending(TypedDict):
    """The ending of a version that is not, or no longer, active: the reason, the task and the time (ISO 8601, UTC).

    `task` is empty if no task ended the version. `by` is the person who did by the command line.
    """

    kind: EndingKind
    reason: str
    task: str
    at: str
    by: NotRequired[str]


class VersionDetails(TypedDict, total=False):
    """The details of a version.

    Attributes:
        description: the pipeline's description of the model.
        run: the start of the refresh.
        cutoff: the time before which data count for the refresh (ISO 8601).
        metrics: what the quality gate judged.
        quality_gate: the decision of the quality gate.
        measures: what the prediction gate judged.
        prediction_gate: the decision of the prediction gate.
        bigquery_model: the BigQuery model that made the predictions, as PROJECT.DATASET.NAME.
        predictions_table: the BigQuery table of all predictions, as PROJECT.DATASET.NAME.
        example: an entity id that has a prediction, to try a lookup with.
        counts: the numbers of predictions and cells.
        smoke_test: the figures of the smoke test.
        promotion: the promotion.
        rollback: the rollback to an earlier version, if readers left this one.
        ended: the ending; absent while the version may still be promoted, or is active.
    """

    description: str
    run: RunDetails
    cutoff: str
    metrics: Evaluation
    quality_gate: GateDecision
    measures: Measures
    prediction_gate: GateDecision
    bigquery_model: str | None
    predictions_table: str
    example: str
    counts: Counts
    smoke_test: SmokeTestResult
    promotion: Promotion
    rollback: Rollback
    ended: Ending


MAX_TEXT = 2_000
"""Largest number of characters of a text in the details. The document is rewritten at each step, and polled."""


def storable(value: Any) -> Any:
    """The value as the registry stores it: texts cut to `MAX_TEXT` characters, None for NaN and infinity.

    JSON does not have NaN and infinity (RFC 8259).
    """
    match value:
        case str():
            return value if len(value) <= MAX_TEXT else f"{value[: MAX_TEXT - 1]}…"
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: storable(each) for key, each in value.items()}
        case list() | tuple():
            return [storable(each) for each in value]
        case _:
            return value


_RENAMED = {"gate": "quality_gate", "checks": "prediction_gate", "model": "bigquery_model"}
"""Keys of 0.1.0."""


def details_from_json(details: Mapping[str, Any]) -> VersionDetails:
    """The details in a registry document, also of 0.1.0. Keys of a later release are kept as they are."""
    return cast("VersionDetails", {_RENAMED.get(key, key): value for key, value in details.items()})
