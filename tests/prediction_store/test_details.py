import pytest

from prediction_store.details import held_out_metrics, newest_live_metrics

CANDIDATE, CHAMPION = {"roc_auc": 0.7}, {"roc_auc": 0.8}


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({}, {}),
        ({"metrics": {"candidate": CANDIDATE}}, CANDIDATE),
        ({"metrics": {"candidate": CANDIDATE, "champion": CHAMPION}, "quality_gate": {"accepted": True}}, CANDIDATE),
        ({"metrics": {"candidate": CANDIDATE, "champion": CHAMPION}, "quality_gate": {"accepted": False}}, CHAMPION),
        ({"metrics": {"candidate": CANDIDATE}, "quality_gate": {"accepted": False}}, {}),
    ],
)
def test_held_out_metrics_are_those_of_the_bigquery_model_that_predicted(details, expected):
    assert held_out_metrics(details) == expected


def test_the_newest_version_with_live_metrics_is_found():
    assert newest_live_metrics({1: {"live": "a"}, 2: {"live": "b"}, 3: {}}) == (2, "b")
    assert newest_live_metrics({3: {}}) is None
