import json

import pytest

from foreserve.refresh import Refresh
from prediction_store.warehouse import version_of

CUTOFF = "2026-11-23T05:00:00+00:00"
REFRESH = Refresh("churn", 17, "p.d", 5, "p.d.churn_model_3", "p.d.churn_predictions_5", cutoff=CUTOFF)


def test_a_refresh_survives_xcom():
    assert Refresh.from_xcom(json.loads(json.dumps(REFRESH.to_xcom()))) == REFRESH


def test_everything_is_named_after_the_version():
    names = {
        REFRESH.candidate_model,
        REFRESH.metrics_table,
        REFRESH.predictions_table,
        REFRESH.measures_table,
        REFRESH.changes_table,
    }
    assert len(names) == 5
    assert {version_of(name.removeprefix("p.d."), "churn") for name in names} == {17}


@pytest.mark.parametrize("name", ["churn_evaluation_17", "churn_checks_17"])
def test_tables_of_the_first_release_are_recognised(name):
    assert version_of(name, "churn") == 17


@pytest.mark.parametrize(
    "name", ["churn_model", "churn_model_x", "churn_other_17", "other_model_17", "churn_b_model_17"]
)
def test_what_no_refresh_made_has_no_version(name):
    assert version_of(name, "churn") is None
