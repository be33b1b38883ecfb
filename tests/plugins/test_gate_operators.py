"""The tasks of the two gates: they judge, decide or ask, and record the decision."""

from datetime import UTC, datetime

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from foreserve.operators import (
    ApplyPredictionGate,
    ApplyQualityGate,
    NameKeptChampion,
)
from foreserve.operators.bigquery import why_not_compared
from foreserve.prediction_gate import PredictionGate
from foreserve.quality_gate import QualityGate

GATE = {"metrics": {"roc_auc": {"minimum": 0.7, "max_drop": 0.05}}}


@pytest.fixture
def judge(context, task, warehouse):
    """Applies the quality gate to the given metrics; returns the BigQuery model that it chooses."""

    def run_gate(refresh, candidate, champion=None, params=None, **gate):
        rows = [f"SELECT 'candidate' AS role, TO_JSON_STRING(STRUCT({candidate} AS roc_auc)) AS metrics"]
        rows += [] if champion is None else [f"SELECT 'champion', TO_JSON_STRING(STRUCT({champion} AS roc_auc))"]
        warehouse.query_and_wait(f"CREATE TABLE `{refresh.metrics_table}` AS {' UNION ALL '.join(rows)}")
        return task(ApplyQualityGate, refresh, gate=QualityGate.model_validate(GATE | gate)).execute(
            context(**params or {})
        )

    return run_gate


def test_a_good_candidate_takes_over_and_the_decision_is_recorded(judge, open_version, registry):
    refresh = open_version()
    assert judge(refresh, 0.8, 0.84) == refresh.candidate_model
    details = registry.get(refresh.model).versions[refresh.version].details
    assert details["metrics"] == {"candidate": {"roc_auc": 0.8}, "champion": {"roc_auc": 0.84}}
    decision = details["quality_gate"]
    assert (decision["outcome"], decision["accepted"], decision["result"]) == (
        "accepted",
        True,
        refresh.candidate_model,
    )
    assert (decision["by"], decision["run_id"]) == ("Ann", "manual__1")


@pytest.mark.parametrize("undefined", ["'NaN'", "CAST(NULL AS FLOAT64)"])  # as TO_JSON_STRING writes NaN
def test_an_undefined_metric_is_a_breach_and_the_registry_has_null(judge, open_version, registry, undefined):
    refresh = open_version()
    with pytest.raises(AirflowFailException, match=r"roc_auc is (nan|NULL), but must be at least 0\.7"):
        judge(refresh, undefined)
    details = registry.get(refresh.model).versions[refresh.version].details
    assert details["metrics"] == {"candidate": {"roc_auc": None}}


def test_a_champion_of_another_kind_is_not_compared(open_version, registry, task, warehouse, context):
    refresh = open_version()
    warehouse.query_and_wait(
        f"CREATE TABLE `{refresh.metrics_table}` AS SELECT 'candidate' AS role, "
        """'{"roc_auc":0.8,"trial_id":1,"best":true,"note":"x"}' AS metrics """
        """UNION ALL SELECT 'champion', '{"r2_score":0.5}'"""
    )
    gate = task(ApplyQualityGate, refresh, gate=QualityGate.model_validate(GATE))
    assert gate.execute(context()) == refresh.candidate_model
    metrics = registry.get(refresh.model).versions[refresh.version].details["metrics"]
    assert metrics == {"candidate": {"roc_auc": 0.8, "trial_id": 1}, "champion": {"r2_score": 0.5}}


@pytest.mark.parametrize(
    ("champion", "reason"),
    [
        ("x > 2 AS bought", "trained with bought (BOOL), the candidate with buys (a number)"),
        ("IF(x > 2, 'yes', 'no') AS buys", "trained with buys (STRING), the candidate with buys (a number)"),
        ("IF(x > 2, 1.0, 0.0) AS buys", None),
        (None, "has been deleted"),
    ],
)
def test_a_champion_with_another_label_is_not_compared_and_the_log_says_so(
    open_version, promoted, task, warehouse, context, capsys, champion, reason
):
    def train(model, label):
        warehouse.query_and_wait(
            f"CREATE MODEL `{model}` OPTIONS (model_type = 'LOGISTIC_REG', input_label_cols = "
            f"['{label.split()[-1]}']) AS SELECT x, {label} FROM UNNEST([1, 2, 3, 4]) AS x"
        )

    first = promoted()
    refresh = open_version()
    train(refresh.candidate_model, "IF(x > 2, 1, 0) AS buys")
    if champion:
        train(first.candidate_model, champion)
    found = why_not_compared(warehouse, refresh)
    assert (found or "").endswith(reason or "")
    assert (found is None) == (reason is None)
    warehouse.query_and_wait(
        f"""CREATE TABLE `{refresh.metrics_table}` AS SELECT 'candidate' AS role, '{{"roc_auc":0.8}}' AS metrics"""
    )
    gate = task(ApplyQualityGate, refresh, gate=QualityGate.model_validate(GATE))
    assert gate.execute(context()) == refresh.candidate_model
    assert "is not compared with the champion" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("""SELECT 'candidate' AS role, '{"roc_auc":0.8}' AS metrics FROM UNNEST([1, 2])""", "more than one row"),
        ("SELECT 'candidate' AS role, '{}' AS metrics LIMIT 0", "no row for the candidate"),
        ("""SELECT 'candidate' AS role, '{"r2_score":0.8}' AS metrics""", "no metric 'roc_auc'; it has r2_score"),
    ],
)
def test_an_evaluation_that_cannot_be_judged_fails_at_once(open_version, task, warehouse, context, rows, reason):
    refresh = open_version()
    warehouse.query_and_wait(f"CREATE TABLE `{refresh.metrics_table}` AS {rows}")
    with pytest.raises(AirflowFailException, match=reason):
        task(ApplyQualityGate, refresh, gate=QualityGate.model_validate(GATE)).execute(context())


def test_a_breach_keeps_the_champion(judge, open_version, promoted, registry):
    champion = promoted().candidate_model
    refresh = open_version()
    assert judge(refresh, 0.78, 0.84) == champion
    gate = registry.get(refresh.model).versions[refresh.version].details["quality_gate"]
    assert (gate["outcome"], gate["accepted"], gate["result"]) == ("kept_champion", False, champion)
    assert gate["reasons"] == ["roc_auc is 0.7800, more than 0.05 below the champion's 0.8400"]


def test_a_run_that_kept_the_champion_has_a_task_that_says_so(open_version, promoted, task, warehouse, context):
    promoted()
    refresh = open_version()
    warehouse.query_and_wait(
        f"""CREATE TABLE `{refresh.metrics_table}` AS SELECT 'candidate' AS role, '{{"roc_auc":0.6}}' AS metrics"""
    )
    given = context(compare=False)
    task(ApplyQualityGate, refresh, gate=QualityGate.model_validate(GATE)).execute(given)
    assert NameKeptChampion(task_id="kept_champion").execute(given) == "roc_auc is 0.6000, below the minimum 0.7"
    with pytest.raises(AirflowSkipException):
        NameKeptChampion(task_id="kept_champion").execute(context())


def test_a_breach_stops_where_that_is_wanted(judge, open_version, promoted):
    promoted()
    with pytest.raises(AirflowFailException, match=r"stopped by the quality_gate: roc_auc is 0\.6"):
        judge(open_version(), 0.6, on_breach="stop")


def test_a_breach_stops_when_there_is_no_champion(judge, open_version):
    with pytest.raises(
        AirflowFailException, match=r"stopped by the quality_gate: roc_auc is 0\.6000, below the minimum 0\.7"
    ):
        judge(open_version(), 0.6)


def test_an_overridden_gate_lets_through_and_keeps_who_and_why(judge, open_version, registry):
    refresh = open_version(override_gates=True, reason="launch")
    assert judge(refresh, 0.6, params={"override_gates": True, "reason": "launch"}) == refresh.candidate_model
    details = registry.get(refresh.model).versions[refresh.version].details
    gate = details["quality_gate"]
    assert (gate["outcome"], gate["accepted"], gate["by"], gate["why"]) == ("overridden", True, "Ann", "launch")
    assert gate["reasons"] == ["roc_auc is 0.6000, below the minimum 0.7"]
    assert details["run"]["choices"]["reason"] == "launch"
    assert details["description"] == "Buys again?"


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_an_override_without_a_reason_is_refused_before_anything_is_done(open_version, registry, reason):
    open_version()
    known = list(registry.models())
    with pytest.raises(AirflowFailException, match="override_gates is set, but reason is empty"):
        open_version(override_gates=True, reason=reason)
    assert list(registry.models()) == known


def test_a_decision_renews_the_run_lease(judge, open_version, registry):
    refresh = open_version()
    lease = registry.get(refresh.model).versions[refresh.version].run_lease_until
    judge(refresh, 0.8)
    assert registry.get(refresh.model).versions[refresh.version].run_lease_until > lease


@pytest.fixture
def answer(context, registry, task):
    """Answers the question of the quality gate; returns the task's result."""

    def answer_question(refresh, option, person, **given):
        breached = {"reasons": ["roc_auc is too low"]}
        registry.update(refresh.model, lambda state: state.note(refresh.version, quality_gate=breached))
        gate = task(ApplyQualityGate, refresh, gate=QualityGate.model_validate(GATE | {"on_breach": "ask"}))
        event = {
            "chosen_options": [option],
            "params_input": given,
            "responded_by_user": person and {"id": person, "name": person},
            "responded_at": datetime(2026, 1, 1, tzinfo=UTC),
        }
        return gate.execute_complete(context(), event)

    return answer_question


@pytest.mark.parametrize(
    ("option", "outcome", "chosen"),
    [("Use the candidate", "approved", "candidate"), ("Keep the champion", "kept_champion", "champion")],
)
def test_an_answer_decides_and_is_kept(answer, open_version, promoted, registry, option, outcome, chosen):
    models = {"champion": promoted().candidate_model}
    refresh = open_version()
    models["candidate"] = refresh.candidate_model
    assert answer(refresh, option, "Bea", why="seen and checked") == models[chosen]
    decision = registry.get(refresh.model).versions[refresh.version].details["quality_gate"]
    assert (decision["outcome"], decision["by"], decision["why"]) == (outcome, "Bea", "seen and checked")
    assert decision["reasons"] == ["roc_auc is too low"]


def test_an_answer_that_the_gate_does_not_know_stops_the_refresh(open_version, context, registry, task):
    refresh = open_version()
    gate = task(ApplyQualityGate, refresh, gate=QualityGate.model_validate(GATE))
    registry.update(refresh.model, lambda state: state.note(refresh.version, quality_gate={"reasons": ["too low"]}))
    with pytest.raises(AirflowFailException, match="stopped by the quality_gate: too low"):
        gate.answered(context(), "Keep the old one", "Bea", "")


def test_without_an_answer_in_time_the_refresh_stops(answer, open_version, registry):
    refresh = open_version()
    with pytest.raises(AirflowFailException, match="stopped by the quality_gate: roc_auc is too low"):
        answer(refresh, "Stop", None)
    decision = registry.get(refresh.model).versions[refresh.version].details["quality_gate"]
    assert (decision["outcome"], decision["by"]) == ("stopped", "nobody answered in 24 h")


@pytest.fixture
def judge_predictions(context, task, warehouse):
    """Applies the prediction gate to the given measures; returns the task's result."""

    def run_prediction_gate(refresh, params=None, rules=None, **measures):
        good = {"predictions": 10, "repeated_ids": 0, "null_ids": 0, "null_payloads": 0}
        sizes = {"shortest_id": 1, "longest_id": 1, "longest_payload": 9, "non_finite": 0}
        columns = ", ".join(f"{value} AS {name}" for name, value in (good | sizes | measures).items())
        warehouse.query_and_wait(f"CREATE TABLE `{refresh.measures_table}` AS SELECT {columns}")
        gate = task(ApplyPredictionGate, refresh, gate=PredictionGate.model_validate(rules or {}))
        return gate.execute(context(**params or {}))

    return run_prediction_gate


def test_predictions_without_a_breach_go_on_and_the_measures_are_recorded(judge_predictions, open_version, registry):
    refresh = open_version()
    assert judge_predictions(refresh, served=10) == refresh.predictions_table
    details = registry.get(refresh.model).versions[refresh.version].details
    assert (details["prediction_gate"]["outcome"], details["measures"]["served"]) == ("accepted", 10)


def test_predictions_in_breach_stop_the_refresh_unless_it_is_overridden(judge_predictions, open_version, registry):
    refresh = open_version()
    with pytest.raises(AirflowFailException, match=r"there are 10 predictions, the active version has 1$"):
        judge_predictions(refresh, served=1)
    assert registry.get(refresh.model).versions[refresh.version].details["prediction_gate"]["outcome"] == "stopped"
    following = open_version()
    assert judge_predictions(following, {"override_gates": True, "reason": "more customers"}, served=1)
    decision = registry.get(following.model).versions[following.version].details["prediction_gate"]
    assert (decision["outcome"], decision["why"]) == ("overridden", "more customers")


def test_a_field_that_is_null_in_all_predictions_stops_the_refresh(judge_predictions, open_version, registry, capsys):
    refresh = open_version()
    with pytest.raises(AirflowFailException, match="the field p is NULL in all 10 predictions"):
        judge_predictions(refresh, fields=2, nulls_p=10, nulls_q=0)
    measures = registry.get(refresh.model).versions[refresh.version].details["measures"]
    assert (measures["fields"], measures["nulls_p"], "nulls_q" in measures) == (2, 10, False)
    assert "breach: the field p is NULL in all 10 predictions" in capsys.readouterr().out


def test_no_override_serves_what_cannot_be_served(judge_predictions, open_version):
    with pytest.raises(AirflowFailException, match="predictions without an entity_id: 2"):
        judge_predictions(open_version(), {"override_gates": True, "reason": "hurry"}, null_ids=2)
