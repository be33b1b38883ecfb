"""The live metrics, of predictions that readers had in the local BigQuery and Bigtable."""

import json
import math
import statistics

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from foreserve.operators import CleanUp, MeasureOutcomes
from foreserve.quality_gate import QualityGate
from prediction_store.lifecycle import now_ms
from refresh_factory.pipeline import Pipeline
from refresh_factory.statements import Statements
from tests.plugins.conftest import DATASET

GATE = {"metrics": {"roc_auc": {"minimum": 0.5, "max_drop": 0.1}, "log_loss": {"maximum": 5}}}
PROBABILITIES = [0.1, 0.4, 0.35, 0.8, 0.8, 0.0, 1.0, 0.5]
BOUGHT = [False, False, True, True, False, False, True, True]


def query(outcomes):
    """The SQL of outcomes: entity id, outcome, and milliseconds of the time at which readers had the prediction."""
    rows = " UNION ALL ".join(
        f"SELECT '{entity}' AS entity_id, {str(outcome).upper()} AS outcome, TIMESTAMP_MILLIS({at}) AS observed_at"
        for entity, outcome, at in outcomes
    )
    return f"{rows};\n-- the end"


@pytest.fixture
def measure(cloud, context, tmp_path):
    """Measures the versions of a model by outcomes; returns the operator's cutoff."""

    def run_measure(model, sql, *, field="p", min_outcomes=1):
        (tmp_path / "outcomes.sql").write_text(sql)
        settings = {"model": model, "entity_type": "customer", "quality_gate": GATE, "outcomes": {"field": field}}
        pipeline = Pipeline.model_validate(settings)
        operator = MeasureOutcomes(
            task_id="measure_outcomes",
            cloud=cloud,
            model=model,
            dataset=DATASET,
            statements=Statements(tmp_path, pipeline, "demo", "operators"),
            gate=QualityGate.model_validate(GATE),
            min_outcomes=min_outcomes,
        )
        operator.execute(context())

    return run_measure


def payloads(values, field="p"):
    return {f"e{i}": json.dumps({field: value}) for i, value in enumerate(values)}


def live(registry, refresh):
    return registry.get(refresh.model).versions[refresh.version].details["live"]


def auc(probabilities, outcomes):
    pairs = [(p, q) for p, is_p in zip(probabilities, outcomes, strict=True) if is_p
             for q, is_q in zip(probabilities, outcomes, strict=True) if not is_q]  # fmt: skip
    return statistics.fmean((p > q) + (p == q) / 2 for p, q in pairs)


def test_each_outcome_is_compared_with_the_version_that_readers_had_then(measure, promoted, compute, registry):
    first = promoted()
    compute(first, payloads(PROBABILITIES), {})
    second = promoted()
    compute(second, payloads([0.5] * len(PROBABILITIES)), {})
    registry.update(second.model, lambda s: s.roll_back(first.version, reason="a test", now=now_ms()))
    served = registry.get(first.model).served_intervals(now_ms() + 1)
    assert [interval.version for interval in served] == [first.version, second.version, first.version]
    times = [interval.since for interval in served]
    early = [(f"e{i}", bought, times[0]) for i, bought in enumerate(BOUGHT)]
    measure(first.model, query([*early, ("e0", True, times[1]), ("e1", False, times[1]), ("e9", True, times[1])]))
    found = live(registry, first)
    assert found["outcomes"] == len(BOUGHT)
    assert found["metrics"]["roc_auc"] == pytest.approx(auc(PROBABILITIES, BOUGHT))
    clipped = [max(p if bought else 1 - p, 1e-15) for p, bought in zip(PROBABILITIES, BOUGHT, strict=True)]
    assert found["metrics"]["log_loss"] == pytest.approx(-statistics.fmean(map(math.log, clipped)))
    assert found["metrics"]["accuracy"] == 6 / 8
    assert (found["metrics"]["precision"], found["metrics"]["recall"]) == (3 / 4, 3 / 4)
    assert [each["outcomes"] for each in found["calibration"]] == [1] * len(BOUGHT)
    assert [each["predicted"] for each in found["calibration"]] == sorted(PROBABILITIES)
    assert live(registry, second)["outcomes"] == 2  # e9 has no prediction


def test_measuring_again_replaces_and_another_day_adds(measure, promoted, compute, warehouse):
    refresh = promoted()
    compute(refresh, payloads([0.2]), {})
    for outcome in (True, False):
        measure(refresh.model, query([("e0", outcome, now_ms())]))
    (row,) = warehouse.query_and_wait(f"SELECT * FROM `{DATASET}.{refresh.model}_live_metrics`")
    assert row["version"] == refresh.version
    assert json.loads(row["metrics"])["accuracy"] == 1


def test_live_metrics_that_part_from_the_held_out_ones_are_breaches(measure, promoted, compute, registry):
    refresh = promoted()
    evaluation = {"candidate": {"roc_auc": 0.95, "log_loss": 0.3}}
    registry.update(refresh.model, lambda state: state.note(refresh.version, metrics=evaluation))
    compute(refresh, payloads(PROBABILITIES), {})
    outcomes = query([(f"e{i}", bought, now_ms()) for i, bought in enumerate(BOUGHT)])
    measure(refresh.model, outcomes)
    found = live(registry, refresh)
    assert found["held_out"] == evaluation["candidate"]
    assert found["breaches"] == ["roc_auc is 0.7812, more than 0.1 below the held-out 0.9500"]
    measure(refresh.model, outcomes, min_outcomes=9)
    assert live(registry, refresh)["breaches"] == []


def test_numbers_are_compared_with_numbers(measure, promoted, compute, registry):
    refresh = promoted()
    compute(refresh, {"a": "1.5", "b": "2", "c": "4"}, {})
    measure(refresh.model, query([("a", 1, now_ms()), ("b", 2, now_ms()), ("c", 6, now_ms())]), field=None)
    found = live(registry, refresh)
    assert found["metrics"]["mean_absolute_error"] == pytest.approx(2.5 / 3)
    assert found["metrics"]["r2_score"] == pytest.approx(1 - 4.25 / 14)
    assert found["metrics"]["median_absolute_error"] == 0.5
    assert found["calibration"] == []
    assert found["breaches"] == []  # of metrics of another kind


def test_predictions_that_are_not_finite_are_not_measured(measure, promoted, compute, registry):
    refresh = promoted()
    compute(refresh, payloads([*PROBABILITIES, "NaN", "Infinity", None]), {})
    outcomes = [(f"e{i}", bought, now_ms()) for i, bought in enumerate([*BOUGHT, True, False, True])]
    measure(refresh.model, query(outcomes))
    found = live(registry, refresh)
    assert found["outcomes"] == len(BOUGHT)
    assert found["metrics"]["roc_auc"] == pytest.approx(auc(PROBABILITIES, BOUGHT))


def test_only_as_many_versions_are_measured_as_a_query_may_name_tables(monkeypatch, measure, promoted, registry):
    monkeypatch.setattr("foreserve.operators.outcomes._MOST_VERSIONS", 1)
    first, second = promoted(), promoted()
    served = registry.get(first.model).served_intervals(now_ms() + 1)
    measure(first.model, query([("a", True, interval.since) for interval in served]), field=None)
    assert "live" not in registry.get(first.model).versions[first.version].details
    assert live(registry, second)["outcomes"] == 1


def test_without_a_version_that_readers_had_the_task_is_skipped(measure, open_version):
    refresh = open_version()
    with pytest.raises(AirflowSkipException, match="readers have had no version"):
        measure(refresh.model, query([("a", 1, now_ms())]))
    with pytest.raises(AirflowSkipException):
        measure("never_refreshed", query([("a", 1, now_ms())]))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 1 AS entity_id, TRUE AS outcome", "outcomes.sql has no column observed_at; it has entity_id, outcome"),
        ("SELECT {{ missing }}", "outcomes.sql:1: 'missing' is undefined"),
        ("SELEC 1", "SELEC"),
    ],
)
def test_sql_that_is_wrong_fails_the_task(measure, promoted, sql, message):
    refresh = promoted()
    with pytest.raises(AirflowFailException, match=message):
        measure(refresh.model, sql)


@pytest.mark.parametrize(("keep_days", "is_kept"), [(0, False), (1, True)])
def test_clean_up_keeps_the_predictions_that_wait_for_outcomes(task, promoted, registry, warehouse, keep_days, is_kept):
    first = promoted(keep_versions=1)
    others = [promoted(keep_versions=1) for _ in range(4)]
    task(CleanUp, others[-1], keep_days=keep_days).execute({})
    tables = {table.table_id for table in warehouse.list_tables(DATASET) if first.model in table.table_id}
    assert (f"{first.model}_predictions_{first.version}" in tables) is is_kept
    assert f"{first.model}_changes_{first.version}" not in tables
    state = registry.get(first.model)
    assert (first.version in state.versions) is is_kept
    assert (first.version in {version for _, version in state.served}) is is_kept


def test_live_metrics_are_recorded_of_a_version_that_expired_long_ago(task, measure, promoted, registry):
    first = promoted(keep_versions=1)
    evaluation = {"candidate": {"roc_auc": 0.9}}
    registry.update(first.model, lambda state: state.note(first.version, metrics=evaluation))
    others = [promoted(keep_versions=1) for _ in range(4)]
    task(CleanUp, others[-1], keep_days=1).execute({})
    (interval, *_) = registry.get(first.model).served_intervals(now_ms())
    measure(first.model, query([("a", True, interval.since)]), field=None)
    found = live(registry, first)
    assert (found["outcomes"], found["held_out"]) == (1, evaluation["candidate"])


def test_clean_up_drops_predictions_of_forgotten_versions_when_their_time_is_over(
    monkeypatch, task, promoted, registry, warehouse
):
    first = promoted(keep_versions=1)
    others = [promoted(keep_versions=1) for _ in range(4)]
    task(CleanUp, others[-1], keep_days=1).execute({})
    two_days_later = now_ms() + 2 * 86_400_000
    monkeypatch.setattr("foreserve.operators.versions.now_ms", lambda: two_days_later)
    task(CleanUp, others[-1], keep_days=1).execute({})
    tables = {table.table_id for table in warehouse.list_tables(DATASET) if first.model in table.table_id}
    assert f"{first.model}_predictions_{first.version}" not in tables
    assert f"{first.model}_predictions_{others[-1].version}" in tables
    assert first.version not in {version for _, version in registry.get(first.model).served}
