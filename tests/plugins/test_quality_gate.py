import pytest
from pydantic import ValidationError

from foreserve.quality_gate import QualityGate

GATE = QualityGate.model_validate(
    {"metrics": {"roc_auc": {"minimum": 0.75, "max_drop": 0.02}, "log_loss": {"maximum": 0.6, "max_rise": 0.1}}}
)


def breaches(candidate, champion):
    return [judgement.text for judgement in GATE.judge(candidate, champion) if not judgement.holds]


def test_each_rule_that_holds_tells_its_margin():
    judgements = GATE.judge({"roc_auc": 0.8, "log_loss": 0.5}, {"roc_auc": 0.81})
    assert [judgement.text for judgement in judgements] == [
        "roc_auc is 0.8000, at least 0.75, with a margin of 0.0500",
        "roc_auc is 0.8000, at most 0.02 below the champion's 0.8100, with a margin of 0.0100",
        "log_loss is 0.5000, at most 0.6, with a margin of 0.1000",
        "log_loss is 0.5000, not compared with a champion (at most 0.1 above the champion's)",
    ]


def test_a_first_model_need_only_be_good_enough():
    assert breaches({"roc_auc": 0.75, "log_loss": 0.6}, None) == []


@pytest.mark.parametrize(
    ("candidate", "champion", "reason"),
    [
        ({"roc_auc": 0.7, "log_loss": 0.3}, None, "roc_auc is 0.7000, below the minimum 0.75"),
        ({"roc_auc": 0.8, "log_loss": 0.7}, None, "log_loss is 0.7000, above the maximum 0.6"),
        (
            {"roc_auc": 0.8, "log_loss": 0.3},
            {"roc_auc": 0.83},
            "roc_auc is 0.8000, more than 0.02 below the champion's 0.8300",
        ),
        (
            {"roc_auc": 0.8, "log_loss": 0.3},
            {"log_loss": 0.1},
            "log_loss is 0.3000, more than 0.1 above the champion's 0.1000",
        ),
        (
            {"roc_auc": float("nan"), "log_loss": 0.3},
            None,
            "roc_auc is nan, but must be at least 0.75, at most 0.02 below the champion's",
        ),
        (
            {"roc_auc": 0.8, "log_loss": float("inf")},
            {"log_loss": float("inf")},
            "log_loss is inf, but must be at most 0.6, at most 0.1 above the champion's",
        ),
        (
            {"roc_auc": None, "log_loss": 0.3},
            {"roc_auc": 0.8},
            "roc_auc is NULL, but must be at least 0.75, at most 0.02 below the champion's",
        ),
    ],
)
def test_a_breach_is_named_with_its_numbers(candidate, champion, reason):
    assert breaches(candidate, champion) == [reason]


def test_a_small_regression_is_accepted():
    assert breaches({"roc_auc": 0.82, "log_loss": 0.3}, {"roc_auc": 0.83, "log_loss": 0.25}) == []


@pytest.mark.parametrize("undefined", [float("nan"), float("inf"), float("-inf"), None])
def test_a_champion_whose_metrics_are_undefined_can_be_succeeded(undefined):
    assert breaches({"roc_auc": 0.8, "log_loss": 0.3}, {"roc_auc": undefined, "log_loss": undefined}) == []


def test_a_metric_that_the_evaluation_lacks_is_named():
    with pytest.raises(ValueError, match="no metric 'log_loss'; it has roc_auc"):
        breaches({"roc_auc": 0.9}, None)


def test_a_rule_must_say_something():
    with pytest.raises(ValidationError, match="at least one of minimum"):
        QualityGate.model_validate({"metrics": {"roc_auc": {}}})


def test_a_gate_says_its_rules_in_words():
    assert GATE.in_words() == {
        "roc_auc": "at least 0.75, at most 0.02 below the champion's",
        "log_loss": "at most 0.6, at most 0.1 above the champion's",
    }
