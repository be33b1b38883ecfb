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


def breaches(gate, measures, active=None):
    return [judgement.text for judgement in gate.judge(measures, active) if not judgement.holds]


def test_a_first_version_has_nothing_to_be_compared_with():
    assert GATE.errors(GOOD, 4091) == []
    assert breaches(GATE, GOOD) == []


@pytest.mark.parametrize("served", [84, 125])
def test_bounds_may_be_reached(served):
    assert breaches(GATE, {**GOOD, "served": served, "changed_share": 0.5, "psi_p": 0.25}) == []


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
    assert breaches(GATE, {**GOOD, **measures}) == [reason]


def test_all_breaches_are_named():
    assert len(breaches(GATE, {**GOOD, "served": 10, "changed_share": 1.0, "psi_p": 9.0})) == 3


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
    assert breaches(PredictionGate(max_row_change=None), {**GOOD, "served": 1, "changed_share": 1.0}) == []


def test_a_rule_that_holds_tells_the_values():
    judgements = GATE.judge({**GOOD, "served": 90, "psi_p": 0.1, "fields": 2, "nulls_p": 0, "constant_p": 0})
    assert [judgement.text for judgement in judgements] == [
        "prediction_gate.max_row_change is 0.2; there are 100 predictions, the active version has 90",
        "prediction_gate.drift.p.max_psi is 0.25; the population stability index is 0.1000",
        "none of 2 fields is NULL or equal in all predictions",
    ]


SERVED = {"predictions": 1000, "fields": 1, "nulls_p": 100}


@pytest.mark.parametrize(
    ("measures", "active", "reason"),
    [
        ({"nulls_p": 100}, None, "the field p is NULL in all 100 predictions"),
        ({"nulls_p": 1, "predictions": 1}, None, "the field p is NULL in all 1 predictions"),
        ({"constant_p": 1, "nulls_p": 0}, None, "the field p has the same value in all 100 predictions"),
        ({"constant_p": 1, "nulls_p": 0, "predictions": 99}, None, None),
        ({"constant_p": 1, "nulls_p": 5}, None, None),
        ({"nulls_p": 21}, SERVED, "the field p is NULL in 21.0% of the predictions, and in 10.0% of the active"),
        ({"nulls_p": 20}, SERVED, None),
        ({"nulls_p": 11}, {"predictions": 1000, "fields": 1}, "NULL in 11.0% of the predictions, and in 0.0%"),
        ({"nulls_p": 90}, {"predictions": 1000}, None),  # of a release that did not count
    ],
)
def test_a_field_without_information_is_a_breach_unless_it_is_unchecked(measures, active, reason):
    measures = {**GOOD, "fields": 1, **measures}
    found = breaches(PredictionGate(), measures, active)
    assert (reason in "".join(found)) if reason else found == []
    assert breaches(PredictionGate(unchecked_fields=["p"]), measures, active) == []
