import pytest
from pydantic import ValidationError

from foreserve.prediction_gate import PredictionGate

GOOD = {
    "predictions": 100,
    "repeated_ids": 0,
    "null_ids": 0,
    "null_payloads": 0,
    "shortest_id": 1,
    "longest_id": 9,
    "longest_payload": 50,
    "non_finite": 0,
}
GATE = PredictionGate.model_validate({"max_row_change": 0.2, "max_changed": 0.5, "drift": {"p": {"max_psi": 0.25}}})


def test_a_first_version_has_nothing_to_be_compared_with():
    assert GATE.errors(GOOD, 4091) == []
    assert GATE.breaches(GOOD) == []


@pytest.mark.parametrize("served", [84, 125])
def test_bounds_may_be_reached(served):
    assert GATE.breaches({**GOOD, "served": served, "changed_share": 0.5, "psi_p": 0.25}) == []


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        ({"served": 80}, "prediction_gate.max_row_change is 0.2; there are 100 predictions, the active version has 80"),
        (
            {"served": 126},
            "prediction_gate.max_row_change is 0.2; there are 100 predictions, the active version has 126",
        ),
        ({"changed_share": 0.51}, "prediction_gate.max_changed is 0.5; 0.5100 of the predictions changed"),
        (
            {"psi_p": float("nan")},
            "prediction_gate.drift.p.max_psi is 0.25; the population stability index is nan",
        ),
        ({"changed_share": float("nan")}, "prediction_gate.max_changed is 0.5; nan of the predictions changed"),
        ({"psi_p": 0.3}, "prediction_gate.drift.p.max_psi is 0.25; the population stability index is 0.3000"),
    ],
)
def test_a_breach_is_named_with_its_numbers(measures, reason):
    assert GATE.breaches({**GOOD, **measures}) == [reason]


def test_all_breaches_are_named():
    assert len(GATE.breaches({**GOOD, "served": 10, "changed_share": 1.0, "psi_p": 9.0})) == 3


def test_all_errors_are_named():
    bad = {**GOOD, "null_ids": 1, "null_payloads": 2, "repeated_ids": 3, "shortest_id": None, "longest_payload": 10**6}
    assert len(GATE.errors(bad, 4091)) == 5


def test_numbers_that_are_not_finite_are_refused_unless_they_are_allowed():
    measures = {**GOOD, "non_finite": 3}
    assert "3 predictions contain NaN or infinity" in GATE.errors(measures, 4091)[0]
    assert PredictionGate(allow_non_finite=True).errors(measures, 4091) == []


@pytest.mark.parametrize("field", ["a b", "a.b", "x'", ""])
def test_a_field_is_a_plain_name(field):
    with pytest.raises(ValidationError, match="pattern"):
        PredictionGate.model_validate({"drift": {field: {"max_psi": 0.1}}})


def test_no_bound_is_no_rule():
    assert PredictionGate(max_row_change=None).breaches({**GOOD, "served": 1, "changed_share": 1.0}) == []
