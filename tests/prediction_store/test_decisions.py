import json

import pytest

from prediction_store import decisions
from prediction_store.decisions import LostRaceError, require_shown, shown
from prediction_store.lifecycle import ModelState, Receipt, RegistryError, Status

WHO = {"by": "Ann", "run_id": "r", "at": "2026-11-23T05:00:00+00:00"}
RUN = "http://airflow/runs/1"
OPENED = ModelState("m", "customer").open(4_000_000_000_000, RUN)
VERSION = OPENED.latest


def test_a_version_is_aborted_with_who_and_why():
    ended = decisions.abort(OPENED, VERSION, "it is stuck", WHO).versions[VERSION]
    assert ended.status is Status.ABORTED
    assert ended.details["ended"] == {
        "kind": "aborted",
        "reason": "it is stuck",
        "task": "",
        "at": WHO["at"],
        "by": "Ann",
    }


def test_a_version_that_is_no_longer_made_cannot_be_aborted():
    aborted = decisions.abort(OPENED, VERSION, "it is stuck", WHO)
    with pytest.raises(RegistryError, match="is aborted, and cannot be aborted"):
        decisions.abort(aborted, VERSION, "again", WHO)
    with pytest.raises(RegistryError, match="version 7 is not known, and cannot be aborted"):
        decisions.abort(OPENED, 7, "it is stuck", WHO)


def test_a_run_is_released_with_who_and_why():
    released = decisions.release(OPENED, "its Airflow is lost", WHO)
    assert released.run_lease_holder(0) is None
    assert released.versions[VERSION].details["released"] == {"run": RUN, "why": "its Airflow is lost", **WHO}
    with pytest.raises(RegistryError, match="no run has the run lease"):
        decisions.release(released, "again", WHO)


def test_renewals_of_leases_are_no_changes_of_what_was_shown():
    expected = json.loads(json.dumps(shown(OPENED, VERSION)))
    require_shown(OPENED.renew_run_lease(VERSION, 4_000_000_000_001), VERSION, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.open(4_000_000_000_001, RUN).begin_export(VERSION), f"version {VERSION} is exporting"),
        (lambda state: state.release_run_lease(RUN).open(4_000_000_000_009), "version 4000000000009 was opened"),
        (
            lambda state: (
                state.begin_export(VERSION)
                .complete_export(VERSION, Receipt(1, 0))
                .promote(VERSION, expected_active=None, expected=Receipt(1, 0))
            ),
            f"version {VERSION} is active instead of None",
        ),
    ],
)
def test_what_is_no_longer_as_it_was_shown_is_a_lost_race(change, message):
    with pytest.raises(LostRaceError, match=f"m: lost a race: meanwhile {message}. Nothing was changed"):
        require_shown(change(OPENED), VERSION, shown(OPENED, VERSION))
