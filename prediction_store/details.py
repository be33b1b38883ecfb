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


class CalibrationBin(TypedDict):
    """A tenth of the judged predictions, in the order of their value: both means, and their number."""

    predicted: float
    observed: float
    outcomes: int


class LiveMetrics(TypedDict):
    """The metrics of the predictions that readers had, against the outcomes that were observed since.

    Attributes:
        at: the data cutoff of the measurement (ISO 8601).
        outcomes: the number of outcomes with a prediction.
        first_observed_at: the first time at which readers had one of these predictions (ISO 8601).
        last_observed_at: the last such time.
        metrics: the metrics of `outcomes.sql`.
        held_out: the metrics of the same BigQuery model on the rows of `evaluate.sql`; empty if there are none.
        calibration: the bins of probabilities, from the lowest on; empty for other predictions.
        breaches: the rules of the quality gate that the live metrics break, with `held_out` as the champion's.
    """

    at: str
    outcomes: int
    first_observed_at: str
    last_observed_at: str
    metrics: Metrics
    held_out: Metrics
    calibration: list[CalibrationBin]
    breaches: list[str]


class Release(Signed):
    """The end of the run lease of the run `run` by a person, and the reason that the person gave."""

    run: str
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
        released: the end of the run lease by a person.
        live: the live metrics, if the pipeline has outcomes.
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
    released: Release
    live: LiveMetrics
    ended: Ending


def held_out_metrics(details: VersionDetails) -> Metrics:
    """The metrics of the BigQuery model that made a version, on the rows of `evaluate.sql`; empty if there are none.

    These are the champion's if the quality gate did not accept the candidate.
    """
    evaluation, gate = details.get("metrics"), details.get("quality_gate")
    if evaluation is None:
        return {}
    return evaluation["candidate"] if gate is None or gate["accepted"] else evaluation.get("champion", {})


def newest_live_metrics(versions: Mapping[int, VersionDetails]) -> tuple[int, LiveMetrics] | None:
    """The newest version that has live metrics, and these; None if no version has any."""
    measured = {version: details["live"] for version, details in versions.items() if "live" in details}
    return max(measured.items()) if measured else None


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
"""Keys that an earlier checkout wrote, and today's."""


def details_from_json(details: Mapping[str, Any]) -> VersionDetails:
    """The details in a registry document, also of an earlier checkout. Keys of a later release are kept as they are."""
    return cast("VersionDetails", {_RENAMED.get(key, key): value for key, value in details.items()})
