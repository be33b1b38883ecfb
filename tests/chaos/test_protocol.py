from dataclasses import replace

import pytest

from prediction_store.lifecycle import ModelState
from tests.chaos.protocol import SMALL, Bounds, Search, Violation

FEW = Bounds(history=1, jobs=1)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.slow
def test_the_protocol_keeps_its_promise_in_every_state(name, record_property):
    search = Search(SMALL[name])
    search.run()
    record_property("states", search.states)
    assert search.states > 50_000


def search_finds(message, bounds=FEW):
    with pytest.raises(Violation, match=message):
        Search(bounds).run()


@pytest.mark.slow
def test_the_search_finds_a_purge_that_does_not_wait_for_write_leases(monkeypatch):
    monkeypatch.setattr(ModelState, "stale_writes_end", lambda _state, _version: 0)
    search_finds("the registry does not know|reads the value")


@pytest.mark.slow
def test_the_search_finds_a_promotion_of_what_was_compared_with_another_version(monkeypatch):
    promote = ModelState.promote

    def promote_anyway(state, version, *, expected_active, expected):
        record = replace(state.versions[version], compared_with=state.active)
        return promote(state._with(version, record), version, expected_active=state.active, expected=expected)

    monkeypatch.setattr(ModelState, "promote", promote_anyway)
    search_finds("reads the value")


@pytest.mark.slow
def test_the_search_finds_an_export_beside_stale_cells(monkeypatch):
    monkeypatch.setattr(ModelState, "_require_no_stale_cells", lambda _state, _version: None)
    search_finds("may be written beside cells")


@pytest.mark.slow
def test_the_search_finds_too_few_spare_cells_for_a_replica_that_is_behind():
    search_finds("cluster 1 reads the value", Bounds(history=2, clusters=2, jobs=1, spare_cells=1))


@pytest.mark.slow
def test_the_search_finds_a_state_from_which_no_refresh_succeeds(monkeypatch):
    monkeypatch.setattr(ModelState, "mark_purged", lambda state, _version, **_: state)
    search_finds("a refresh is refused")
