import functools
import json
import operator
from dataclasses import replace

import pytest

from prediction_store.lifecycle import (
    CLOCK_TOLERANCE,
    RUN_LEASE,
    WRITE_LEASE,
    ModelState,
    Receipt,
    RegistryError,
    Status,
    VersionRecord,
)

RECEIPT = Receipt(10, 2)


def exported(state, now=0):
    """The state after a version was opened and exported."""
    state = state.open(now)
    version = state.latest
    purged = state.mark_purged(version, above=state.active or 0, began=0)
    return purged.begin_export(version).complete_export(version, RECEIPT)


def promoted(state, now=0):
    """The state after a whole refresh."""
    state = exported(state, now)
    return state.promote(state.latest, expected_active=state.active, expected=RECEIPT)


NEW = ModelState("churn", "customer", keep_versions=2)


def test_a_version_is_the_time_it_was_opened():
    assert NEW.open(1_764_000_000_000).latest == 1_764_000_000_000


def test_versions_grow_even_when_the_clock_does_not():
    state = NEW.open(1000).open(900)
    assert state.latest == 1001


def test_a_complete_version_is_promoted():
    state = promoted(NEW)
    assert state.active == state.latest
    assert state.versions[state.latest].status is Status.PROMOTED


def test_promoting_twice_is_promoting_once():
    state = promoted(NEW)
    assert state.promote(state.latest, expected_active=None, expected=RECEIPT) == state


@pytest.mark.parametrize(
    ("expected", "message"),
    [(Receipt(11, 2), "BigQuery has 11 predictions and 2 tombstones"), (Receipt(10, 3), "10 predictions and 3 tomb")],
)
def test_an_incomplete_version_is_not_promoted(expected, message):
    state = exported(NEW)
    with pytest.raises(RegistryError, match=message):
        state.promote(state.latest, expected_active=None, expected=expected)


def test_without_a_receipt_there_is_no_promotion():
    state = NEW.open(5).begin_export(5)
    with pytest.raises(RegistryError, match="no receipt"):
        state.promote(5, expected_active=None, expected=RECEIPT)


def test_a_new_try_of_an_export_needs_a_new_receipt():
    state = exported(NEW)
    state = state.begin_export(state.latest)
    with pytest.raises(RegistryError, match="no receipt"):
        state.promote(state.latest, expected_active=None, expected=RECEIPT)


def test_what_was_computed_against_another_version_is_not_promoted():
    state = promoted(NEW)
    first = state.active
    state = exported(state)
    with pytest.raises(RegistryError, match=f"{first} is active now"):
        state.promote(state.latest, expected_active=None, expected=RECEIPT)


def test_a_version_is_not_exported_or_promoted_after_a_newer_one_was_opened():
    state = exported(NEW)
    late = state.latest
    state = state.open(0)
    for step in (
        lambda: state.begin_export(late),
        lambda: state.promote(late, expected_active=None, expected=RECEIPT),
        lambda: state.complete_export(late, RECEIPT),
    ):
        with pytest.raises(RegistryError, match="opened after it"):
            step()


def test_cells_of_an_aborted_export_must_be_purged_before_promotion():
    state = exported(promoted(NEW))
    aborted = state.latest
    state = state.abort(aborted, state.active, reason="a test", now=1).open(0)
    version = state.latest
    assert state.stale_versions(version) == [aborted]
    for step in (state.begin_export, state.resume_export):
        with pytest.raises(RegistryError, match=rf"cells of versions \[{aborted}\].*clear the task purge"):
            step(version)
    purged = state.mark_purged(version, above=state.active, began=0)
    assert purged.resume_export(version).stale_versions(version) == []
    with pytest.raises(RegistryError, match="is not about to be exported; latest is"):
        state.mark_purged(aborted, above=state.active, began=0)


def test_an_export_stops_when_readers_are_rolled_back():
    # The cells of the version that readers leave would be read with the exported one.
    state = promoted(promoted(NEW))
    first, second = sorted(state.versions)
    state = state.open(0).begin_export(state.latest + 1)
    exported = state.complete_export(state.latest, RECEIPT)
    rolled_back = state.roll_back(first, reason="a test", now=1)
    for step in (
        lambda: rolled_back.renew_write_lease(state.latest, 1),
        lambda: rolled_back.resume_export(state.latest),
        lambda: rolled_back.complete_export(state.latest, RECEIPT),
    ):
        with pytest.raises(RegistryError, match=rf"cells of versions \[{second}\].*start a new run"):
            step()
    with pytest.raises(RegistryError, match=rf"cells of versions \[{second}\] would be read"):
        exported.roll_back(first, reason="a test", now=1).promote(state.latest, expected_active=first, expected=RECEIPT)


def test_a_version_aborted_before_its_export_needs_no_purge():
    state = promoted(NEW).open(0)
    state = state.abort(state.latest, state.active, reason="a test", now=1).open(0)
    assert state.stale_versions(state.latest) == []


def test_a_purged_version_is_gone_for_good():
    state = exported(NEW)
    late = state.latest
    state = state.abort(late, None, reason="a test", now=1).open(0)
    state = state.mark_purged(state.latest, above=0, began=0)
    assert state.versions[late].status is Status.PURGED
    assert state.abort(late, None, reason="a test", now=1) == state


def test_a_purge_that_began_before_a_rollback_does_not_count():
    state = promoted(promoted(NEW))
    first, second = sorted(state.versions)
    state = state.open(0).begin_export(state.latest + 1).roll_back(first, reason="a test", now=1)
    with pytest.raises(RegistryError, match=f"purged above {second}, but {first} is active"):
        state.mark_purged(state.latest, above=second, began=0)


def test_what_an_export_was_computed_from_is_final():
    state = NEW.open(5)
    assert not state.is_final(5)
    assert not state.abort(5, None, reason="a test", now=1).is_final(5)
    assert state.begin_export(5).is_final(5)
    assert promoted(NEW).open(9).is_final(promoted(NEW).latest)
    with pytest.raises(RegistryError, match="5 cannot be computed: 6 was opened after it"):
        state.open(6).is_final(5)


def test_the_export_of_an_aborted_version_can_be_resumed():
    state = NEW.open(5)
    assert state.resume_export(5) == state.begin_export(5)
    aborted = state.begin_export(5).complete_export(5, RECEIPT).abort(5, None, reason="a test", now=1)
    assert aborted.resume_export(5) == state.begin_export(5)
    assert state.begin_export(5).complete_export(5, RECEIPT).resume_export(5).versions[5].receipt == RECEIPT
    with pytest.raises(RegistryError, match="6 was opened after it"):
        aborted.open(6).resume_export(5)
    assert promoted(NEW).resume_export(promoted(NEW).latest) == promoted(NEW)


RUN, OTHER = "http://airflow/dags/d/runs/1", "http://airflow/dags/d/runs/2"


def test_two_runs_do_not_interleave():
    state = NEW.open(5, RUN)
    with pytest.raises(RegistryError, match=f"version 5 is being made by {RUN}, whose lease ends 1970-01-04 01:00 UTC"):
        state.open(6, OTHER)
    exporting = state.begin_export(5)
    with pytest.raises(RegistryError, match="is being made by"):
        exporting.open(6, OTHER)
    active = exporting.complete_export(5, RECEIPT).promote(5, expected_active=None, expected=RECEIPT)
    with pytest.raises(RegistryError, match="is being made by"):
        active.open(6, OTHER)
    assert active.confirm(5).open(6, OTHER).latest == 6


def test_a_run_lease_ends_when_its_version_is_aborted_or_its_run_has_ended():
    state = NEW.open(5, RUN)
    assert state.abort(5, None, reason="a test", now=1).open(6, OTHER).latest == 6
    assert state.release_run_lease(RUN).open(6, OTHER).latest == 6
    assert state.release_run_lease(OTHER) == state


def test_a_run_lease_outlasts_any_step_and_ends_unless_it_is_renewed():
    longest_training = 72 * 3_600_000  # "CREATE MODEL execution-time limit" in BigQuery's quotas
    state = NEW.open(5, RUN)
    assert state.run_lease_holder(5 + longest_training) == RUN
    assert state.open(5 + RUN_LEASE, OTHER).latest == 5 + RUN_LEASE
    renewed = state.renew_run_lease(5, 1000)
    assert renewed.run_lease_holder(5 + RUN_LEASE) == RUN
    assert renewed.run_lease_holder(1000 + RUN_LEASE) is None


def test_a_run_that_opens_a_version_again_gets_the_same_until_it_is_exported():
    state = NEW.open(5, RUN)
    assert state.open(6, RUN).latest == 5
    assert state.begin_export(5).open(6, RUN).latest == 6
    assert state.abort(5, None, reason="a test", now=1).open(6, RUN).latest == 6


def test_many_workers_renew_the_write_lease_with_few_writes():
    state = NEW.open(5).begin_export(5).renew_write_lease(5, 1000)
    assert state.write_lease_until == 1000 + WRITE_LEASE
    assert state.renew_write_lease(5, 1000 + WRITE_LEASE // 4) is state
    assert state.renew_write_lease(5, 1000 + WRITE_LEASE // 2).write_lease_until == 1000 + WRITE_LEASE * 3 // 2


def test_a_purge_that_began_while_cells_could_still_be_written_does_not_count():
    state = NEW.open(5).begin_export(5).renew_write_lease(5, now=1000).abort(5, None, reason="a test", now=1).open(6)
    with pytest.raises(RegistryError, match="6 was opened after it"):
        state.renew_write_lease(5, now=1001)
    end = 1000 + WRITE_LEASE + CLOCK_TOLERANCE
    assert state.stale_writes_end(6) == end
    with pytest.raises(RegistryError, match=r"versions \[5\] could still write when the purge began"):
        state.mark_purged(6, above=0, began=end - 1)
    assert state.mark_purged(6, above=0, began=end).stale_versions(6) == []


def test_versions_that_the_registry_has_lost_are_purged_once_no_job_can_write_them():
    state = promoted(NEW)
    adopted = state.adopt([state.active, 7, 8], now=1000)
    assert adopted.adopt([7, 8], now=2000) == adopted
    opened = adopted.open(9)
    assert opened.stale_versions(9) == [7, 8]
    assert opened.stale_writes_end(9) == 1000 + WRITE_LEASE + CLOCK_TOLERANCE
    assert opened.forget().stale_versions(9) == [7, 8]


def test_only_an_export_that_has_begun_is_expected():
    state = NEW.open(5).begin_export(5)
    state.require_exporting(5)
    with pytest.raises(RegistryError, match="5 is aborted; begin its export first"):
        state.abort(5, None, reason="a test", now=1).require_exporting(5)


def test_roll_back_makes_an_earlier_version_active():
    state = promoted(promoted(NEW))
    first, second = sorted(state.versions)
    state = state.roll_back(first, reason="a test", now=1)
    assert state.active == first
    assert state.stale_versions(0) == [second]
    assert state.roll_back(first, reason="a test", now=1) == state


def test_roll_back_names_what_is_possible():
    state = promoted(NEW)
    with pytest.raises(RegistryError, match="possible: none"):
        state.roll_back(3, reason="a test", now=1)
    state = promoted(state)
    with pytest.raises(RegistryError, match=f"to 17, which is not known; possible: {min(state.versions)};"):
        state.roll_back(17, reason="a test", now=1)


def test_readers_go_forward_to_a_version_that_they_were_rolled_back_from():
    state = promoted(promoted(promoted(ModelState("churn", "customer"))))
    first, second, third = sorted(state.versions)
    assert state.forward_targets() == []
    back = state.switch(first, reason="a test", now=1)
    assert back.forward_targets() == [third, second]
    forward = back.switch(third, reason="a mistake", now=2)
    assert (forward.active, "ended" in forward.versions[third].details) == (third, False)
    assert forward.rollback_targets() == [second, first]
    opened = back.open(0)
    assert opened.forward_targets() == []
    with pytest.raises(
        RegistryError, match=f"to {third}, which is promoted; version 4 was opened after it; possible: no"
    ):
        opened.switch(third, reason="too late", now=2)


def held(state):
    version = state.latest
    return state.note(version, counts={"written": 10, "tombstones": 2}).hold(version, reason="a look", now=1)


def test_a_version_that_is_held_is_ready_until_a_newer_one_is_opened():
    state = held(exported(promoted(NEW), now=7))
    assert (state.versions[7].status, state.versions[7].details["ended"]["reason"]) == (Status.READY, "a look")
    assert state.forward_targets() == [7]
    assert held(state) == state
    with pytest.raises(RegistryError, match="7 is ready, so nothing is purged"):
        state.begin_purge(7)
    switched = state.switch(7, reason="good", now=2)
    assert (switched.active, switched.versions[7].status) == (7, Status.PROMOTED)
    assert "ended" not in switched.versions[7].details
    opened = state.open(8)
    assert (opened.versions[7].status, opened.versions[7].details["ended"]["kind"]) == (Status.ABORTED, "superseded")
    assert (opened.forward_targets(), opened.stale_versions(8)) == ([], [7])


def test_a_ready_version_is_not_promoted_after_a_rollback_unless_readers_go_forward_again():
    state = promoted(promoted(NEW))
    first, second = sorted(state.versions)
    state = held(exported(state, now=7)).switch(first, reason="a test", now=1)
    assert state.forward_targets() == [second]
    assert state.switch(second, reason="a mistake", now=2).forward_targets() == [7]


def test_a_version_without_a_receipt_is_not_ready():
    state = NEW.open(5).begin_export(5).hold(5, reason="promote is off", now=1)
    assert (state.versions[5].status, state.forward_targets()) == (Status.EXPORTING, [])


def rolled_back_while_a_version_is_made():
    """A state in which readers were rolled back since version 7 was opened; and the version that they left."""
    state = promoted(promoted(NEW))
    return state.open(7).switch(state.rollback_targets()[0], reason="a test", now=1), state.active


def test_a_version_that_is_compared_with_a_purged_one_is_neither_ready_nor_promoted():
    state, left = rolled_back_while_a_version_is_made()
    purged = state.mark_purged(7, above=state.active, began=1)
    state = held(purged.begin_export(7).complete_export(7, RECEIPT))
    assert (state.versions[7].status, state.forward_targets()) == (Status.EXPORTING, [])
    with pytest.raises(RegistryError, match=f"computed against active version {left}, but {state.active} is active"):
        state.promote(7, expected_active=state.active, expected=RECEIPT)


def test_readers_do_not_go_forward_to_what_a_purge_may_be_deleting():
    state = exported(promoted(promoted(NEW)), now=7)
    state = state.switch(state.rollback_targets()[0], reason="a test", now=1)
    assert state.begin_purge(7) == state
    assert held(state).forward_targets() == []


def test_a_run_that_opens_a_version_again_compares_it_with_what_is_active_by_then():
    state = promoted(promoted(NEW))
    opened = state.open(7, run="a run")
    first = state.rollback_targets()[0]
    assert opened.versions[7].compared_with == state.active
    assert opened.switch(first, reason="a test", now=1).open(8, run="a run").versions[7].compared_with == first


def test_a_ready_version_that_is_exported_again_and_fails_has_the_reason():
    state = held(exported(NEW, now=7))
    assert state.resume_export(7).versions[7].receipt is None
    aborted = state.abort(7, None, reason="no answer", now=2)
    assert (aborted.versions[7].status, aborted.versions[7].details["ended"]["reason"]) == (Status.ABORTED, "no answer")


def test_versions_that_garbage_collection_takes_expire():
    state = promoted(promoted(NEW))  # keep_versions is 2
    first = min(state.versions)
    state = state.open(0).begin_export(state.latest + 1)
    assert state.rollback_targets() == [first]
    state = state.complete_export(state.latest, RECEIPT)
    state = state.promote(state.latest, expected_active=state.active, expected=RECEIPT)
    state = state.open(0).begin_export(state.latest + 1)
    assert state.versions[first].status is Status.EXPIRED
    assert first not in state.rollback_targets()


def test_fewer_versions_to_keep_expire_the_others_at_once():
    state = promoted(promoted(promoted(ModelState("churn", "customer", keep_versions=4))))
    assert len(state.rollback_targets()) == 2
    assert state.configure(ModelState("churn", "customer", keep_versions=1)).rollback_targets() == []


def test_cells_above_the_active_version_do_not_push_out_what_is_read():
    state = promoted(promoted(promoted(ModelState("churn", "customer", keep_versions=4))))
    assert state.cells_per_row == 7
    rolled_back = state.roll_back(min(state.versions), reason="a test", now=1).configure(
        ModelState("churn", "customer", keep_versions=1)
    )
    assert rolled_back.cells_per_row == 6  # two above, the active one, three to spare


def test_aborting_an_unconfirmed_version_takes_readers_back():
    state = promoted(promoted(NEW))
    first, second = sorted(state.versions)
    state = state.abort(second, first, reason="a test", now=1)
    assert (state.active, state.versions[second].status) == (first, Status.ABORTED)
    assert state.stale_versions(0) == [second]


def test_aborting_leaves_a_confirmed_or_succeeded_version_alone():
    confirmed = promoted(NEW)
    confirmed = confirmed.confirm(confirmed.active)
    assert confirmed.abort(confirmed.active, None, reason="a test", now=1) == confirmed
    later = promoted(confirmed).confirm(confirmed.latest + 1)
    assert later.abort(confirmed.active, None, reason="a test", now=1) == later
    assert later.abort(later.active, confirmed.active, reason="a test", now=1) == later


def test_an_aborted_version_can_still_be_promoted_when_its_tests_pass_after_all():
    state = exported(NEW)
    state = state.abort(state.latest, None, reason="a test", now=1)
    assert state.promote(state.latest, expected_active=None, expected=RECEIPT).active == state.latest


def test_notes_are_kept_with_the_version():
    state = NEW.open(5).note(5, cutoff="a", rows=1).note(5, rows=2)
    assert state.versions[5].details == {"cutoff": "a", "rows": 2}


def test_every_ending_has_a_reason():
    def ended(state, version):
        return state.versions[version].details.get("ended")

    state = promoted(promoted(NEW))
    first, second = sorted(state.versions)
    assert ended(state, second) is None
    rolled_back = state.roll_back(first, reason="wrong prices", now=1_764_000_000_000, task="roll_back")
    assert ended(rolled_back, second) == {
        "kind": "rolled_back",
        "reason": "wrong prices",
        "task": "roll_back",
        "at": "2025-11-24T16:00:00+00:00",
    }
    taken_back = state.abort(second, first, reason="not confirmed", now=1, task="confirm")
    assert ended(taken_back, second)["kind"] == "aborted"
    opened = NEW.open(5)
    assert ended(opened.abort(5, None, reason="no rows", now=1, task="predict"), 5)["reason"] == "no rows"
    assert ended(opened.open(6), 5)["reason"] == "version 6 was opened"
    refused = opened.refuse_promotion(5, reason="promote is false", now=1, task="promote")
    assert ended(refused, 5)["kind"] == "not_promoted"
    assert ended(refused.abort(5, None, reason="a task failed", now=2), 5)["kind"] == "not_promoted"
    assert state.refuse_promotion(second, reason="too late", now=1) == state


def test_a_version_that_goes_on_has_no_ending():
    aborted = exported(NEW).abort(1, None, reason="a test", now=1)
    assert "ended" not in aborted.resume_export(1).versions[1].details
    assert "ended" not in aborted.promote(1, expected_active=None, expected=RECEIPT).versions[1].details


def test_texts_in_the_registry_are_short():
    long = "x" * 100_000
    state = NEW.open(5).note(5, quality_gate={"reasons": [long], "why": long}).abort(5, None, reason=long, now=1)
    assert len(state.to_json()) < 3 * 2_000 + 1_000
    assert state.versions[5].details["ended"]["reason"] == "x" * 1_999 + "…"


def test_forgetting_keeps_what_can_be_read_and_what_must_be_purged():
    state = NEW
    for _ in range(6):
        state = promoted(state)
    state = exported(state).abort(state.latest + 1, state.active, reason="a test", now=1)
    for _ in range(9):
        state = state.open(0)
    kept = state.forget()
    assert kept.active == state.active
    assert kept.rollback_targets() == state.rollback_targets()
    assert kept.stale_versions(0) == state.stale_versions(0)
    assert len(kept.versions) < len(state.versions)


def test_the_times_in_which_readers_had_versions_are_kept():
    state = replace(NEW, active=7).serve(100)
    state = replace(state, active=9).serve(200)
    state = replace(replace(state, active=None).serve(250), active=7).serve(300)
    intervals = [(each.version, each.since, each.until) for each in state.served_intervals(1_000)]
    assert intervals == [(7, 100, 200), (9, 200, 250), (7, 300, 1_000)]
    assert ModelState.from_json(state.to_json()).served == state.served
    assert NEW.served_intervals(1_000) == []


def test_forgetting_drops_the_times_of_forgotten_versions_that_nobody_waits_for():
    state = replace(NEW, versions={9: VersionRecord(Status.PROMOTED)}, latest=9)
    for at, version in ((100, 7), (200, 8), (300, 9)):
        state = replace(state, active=version).serve(at)
    assert state.forget().served == ((300, 9),)
    assert state.forget(served_since=250).served == ((200, 8), (300, 9))
    assert state.forget(served_since=150).served == state.served
    none_remembered = replace(state, versions={}, latest=0)
    assert none_remembered.forget().served == ((300, 9),)  # what readers have now is not forgotten


def test_of_versions_whose_outcomes_are_awaited_only_what_those_are_compared_with_is_kept():
    state = NEW
    for version in range(1, 300):
        state = promoted(state).note(version, metrics={"candidate": {"roc_auc": 0.9}}).serve(version * 10)
    assert state.latest == 299
    kept = state.forget(served_since=0)
    slim = sorted(kept.versions.keys() - state.forget().versions.keys())
    assert len(slim) == 128
    assert slim[-1] + 1 == min(state.forget().versions)
    assert {name for version in slim for name in kept.versions[version].details} == {"metrics"}
    assert kept.served == state.served
    assert kept.rollback_targets() == state.rollback_targets()
    assert kept.forget(served_since=0) == kept


def test_a_document_leads_back_to_its_state():
    state = promoted(exported(NEW).abort(1, None, reason="a test", now=1).note(1, quality_gate={"accepted": True}))
    assert ModelState.from_json(state.to_json()) == state


FIRST_RELEASE = """
{"model": "m", "entity_type": "customer", "row_keys": "hashed", "keep_versions": 2, "active": 7, "latest": 9,
 "versions": {
  "7": {"status": "promoted", "run": "http://airflow/runs/1", "held_until": 5, "writes_until": 6, "has_cells": true,
        "confirmed": true, "receipt": {"predictions": 3, "tombstones": 1},
        "details": {"gate": {"outcome": "accepted"}, "checks": {"outcome": "stopped"}, "model": "p.d.m_model_7"}},
  "9": {"status": "open", "run": "", "held_until": 0, "writes_until": 0, "has_cells": false,
        "confirmed": false, "receipt": null, "details": {}}}}
"""


def test_what_the_first_release_wrote_is_understood():
    assert ModelState.from_json(FIRST_RELEASE.encode()) == ModelState(
        "m",
        "customer",
        row_keys="hashed",
        keep_versions=2,
        active=7,
        latest=9,
        write_lease_until=6,
        versions={
            7: VersionRecord(
                Status.PROMOTED,
                run="http://airflow/runs/1",
                run_lease_until=5,
                has_cells=True,
                confirmed=True,
                receipt=Receipt(3, 1),
                details={
                    "quality_gate": {"outcome": "accepted"},
                    "prediction_gate": {"outcome": "stopped"},
                    "bigquery_model": "p.d.m_model_7",
                },
            ),
            9: VersionRecord(Status.OPEN),
        },
    )


def test_a_field_that_an_earlier_release_did_not_write_has_its_default():
    document = b'{"model": "m", "entity_type": "customer", "versions": {"1": {"status": "open"}}}'
    assert ModelState.from_json(document) == ModelState("m", "customer", versions={1: VersionRecord(Status.OPEN)})


@pytest.mark.parametrize("path", [(), ("versions", "7"), ("versions", "7", "receipt")])
def test_a_field_of_a_later_release_is_refused_rather_than_dropped(path):
    document = json.loads(FIRST_RELEASE)
    functools.reduce(operator.getitem, path, document)["fenced_by"] = 1
    with pytest.raises(RegistryError, match=r"not a registry document .*fenced_by"):
        ModelState.from_json(json.dumps(document).encode())


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b'{"versions":{"x":{}}}',
        b'{"versions":{"1":{"status":"no"}}}',
        b'{"versions":{"1":{}}}',
    ],
)
def test_a_broken_document_is_an_error(document):
    with pytest.raises(RegistryError, match="not a registry document"):
        ModelState.from_json(document)


def test_the_document_is_strict_json_which_has_no_nan():
    undefined = {"candidate": {"precision": float("nan"), "log_loss": float("inf")}}
    state = ModelState("m", "customer").open(1000).note(1000, metrics=undefined, measures={"psi_p": float("-inf")})
    document = json.loads(state.to_json(), parse_constant=pytest.fail)
    details = document["versions"]["1000"]["details"]
    assert details == {"metrics": {"candidate": {"precision": None, "log_loss": None}}, "measures": {"psi_p": None}}


def test_half_a_character_in_a_text_leaves_a_document_that_is_read():
    state = ModelState("m", "customer").open(1000).abort(1000, None, reason="caf\u00e9 \ud800", now=1)
    assert ModelState.from_json(state.to_json()).versions[1000].details["ended"]["reason"] == "caf\u00e9 ?"


def test_a_document_with_nan_of_an_earlier_release_is_read_and_written_without():
    state = ModelState("m", "customer").open(1000).note(1000, measures={"psi_p": 1.5})
    read = ModelState.from_json(state.to_json().replace(b"1.5", b"NaN"))
    assert read.versions[1000].details["measures"] == {"psi_p": None}
    assert b"NaN" not in read.to_json()
