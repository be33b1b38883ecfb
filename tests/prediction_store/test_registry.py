import json
import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import grpc
import pytest
from google.cloud.bigtable.data import BigtableDataClient, DeleteAllFromRow, SetCell

from local_stack.servers import ROOT
from prediction_store.layout import (
    REGISTRY_DOCUMENT,
    REGISTRY_FAMILY,
    REGISTRY_REVISION,
    REGISTRY_TABLE,
    REGISTRY_WRITE_LEASE,
)
from prediction_store.lifecycle import WRITE_LEASE, ModelState, Receipt, RegistryError
from prediction_store.registry import Registry
from prediction_store.tables import Tables
from tests.beam_jobs.proxy import proxy
from tests.servers import INSTANCE, bigtable_server

RECEIPT = Receipt(1, 0)


def test_a_model_is_found_once_it_is_registered(registry, model):
    assert registry.find(model) is None
    with pytest.raises(RegistryError, match=f"{model}: the registry does not have this model"):
        registry.get(model)
    registry.register(ModelState(model, "customer"))
    assert registry.get(model).entity_type == "customer"
    assert model in {state.model for state in registry.models()}


def test_an_unknown_model_has_no_next_step(registry, model):
    with pytest.raises(RegistryError, match="does not have this model"):
        registry.update(model, lambda state: state.open(1))


def test_registering_again_keeps_versions_and_takes_over_settings(registry, model):
    registry.register(ModelState(model, "customer"))
    registry.update(model, lambda state: state.open(7))
    state = registry.register(ModelState(model, "customer", keep_versions=9))
    assert (state.latest, state.keep_versions) == (7, 9)
    assert registry.get(model) == state


def test_a_model_is_removed_unless_it_has_changed(registry, model):
    before = registry.register(ModelState(model, "customer"))
    after = registry.update(model, lambda state: state.open(7))
    assert not registry.remove(before)
    assert registry.get(model) == after
    assert registry.remove(after)
    assert registry.find(model) is None


def test_a_family_is_dropped_once(tables, model):
    state = ModelState(model, "customer")
    assert tables.drop_family(state)
    assert not tables.drop_family(state)


def test_row_keys_do_not_change_under_existing_versions(registry, model):
    registry.register(ModelState(model, "customer"))
    registry.update(model, lambda state: state.open(7))
    with pytest.raises(RegistryError, match="row_keys cannot change from 'customer', 'plain'"):
        registry.register(ModelState(model, "customer", "hashed"))


def test_a_refused_step_changes_nothing(registry, model):
    registry.register(ModelState(model, "customer"))
    before = registry.update(model, lambda state: state.open(7))
    with pytest.raises(RegistryError):
        registry.update(model, lambda state: state.roll_back(3, reason="a test", now=1))
    assert registry.get(model) == before


def test_steps_that_race_are_all_made(instance, registry, model):
    registry.register(ModelState(model, "customer"))

    def open_two(_):
        return [Registry(instance).update(model, lambda state: state.open(0)).latest for _ in range(2)]

    with ThreadPoolExecutor(4) as pool:
        opened = [version for pair in pool.map(open_two, range(4)) for version in pair]
    assert sorted(opened) == list(range(1, 9))
    assert sorted(registry.get(model).versions) == sorted(opened)


@pytest.fixture
def table(instance, tables):
    """The registry's table, by Google's own client."""
    with BigtableDataClient(project=instance.project) as client:
        yield client.get_table(instance.instance, REGISTRY_TABLE)


@pytest.fixture
def written(model, table):
    """Write a model's row as it would not be written now: its cells' values and timestamps, by column."""

    def written(**cells):
        mutations = [SetCell(REGISTRY_FAMILY, name, value, micros) for name, (value, micros) in cells.items()]
        table.mutate_row(model, mutations)

    yield written
    table.mutate_row(model, DeleteAllFromRow())


def revision_of(table, model):
    newest, *_ = table.read_row(model).get_cells(REGISTRY_FAMILY, REGISTRY_REVISION)
    return int(newest.value)


def test_a_row_of_the_first_release_is_taken_over(model, registry, table, written):
    of_0_1_0 = {"status": "exporting", "run": "", "held_until": 0, "writes_until": 1_000, "has_cells": True}
    document = {"model": model, "entity_type": "customer", "latest": 7, "versions": {"7": of_0_1_0}}
    written(document=(json.dumps(document).encode(), 43_000), revision=(b"43", 43_000))
    assert registry.get(model).write_lease_until == 1_000
    renewed = registry.update(model, lambda state: state.renew_write_lease(7, 2_000))
    assert renewed.write_lease_until == 2_000 + WRITE_LEASE
    assert registry.get(model) == renewed
    registry.update(model, lambda state: state.open(0))
    assert registry.get(model).latest == 8
    assert revision_of(table, model) > 45


@pytest.mark.parametrize("restored", [False, True], ids=["deleted", "restored from a backup"])
def test_revisions_grow_although_the_row_was_lost(restored, model, registry, table, written):
    registry.register(ModelState(model, "customer"))
    backup = {cell.qualifier.decode(): (cell.value, 0) for cell in table.read_row(model)}
    for _ in range(5):
        registry.update(model, lambda state: state.open(0))
    known = revision_of(table, model)
    table.mutate_row(model, DeleteAllFromRow())
    if restored:
        written(**backup)
    registry.register(ModelState(model, "customer"))
    registry.update(model, lambda state: state.open(0))
    assert revision_of(table, model) > known


def test_revisions_grow_although_the_clock_is_behind(model, registry, table, monkeypatch):
    registry.register(ModelState(model, "customer"))
    known = revision_of(table, model)
    monkeypatch.setattr("prediction_store.registry.time.time_ns", lambda: 0)
    registry.update(model, lambda state: state.open(0))
    assert revision_of(table, model) == known + 1


def test_a_renewal_writes_neither_document_nor_revision(model, registry, table):
    def cells():
        return {cell.qualifier: cell.value for cell in table.read_row(model)}

    registry.register(ModelState(model, "customer"))
    registry.update(model, lambda state: state.open(7).begin_export(7))
    before = cells()
    registry.update(model, lambda state: state.renew_write_lease(7, 1_000))
    assert cells() == {**before, REGISTRY_WRITE_LEASE: b"%d" % (1_000 + WRITE_LEASE)}


def test_a_renewal_that_races_with_another_step_is_made_after_it_or_refused(model, registry):
    registry.register(ModelState(model, "customer"))
    registry.update(model, lambda state: state.open(7).begin_export(7))

    def meanwhile(step):
        steps = [step]

        def renew(state):
            if steps:
                registry.update(model, steps.pop())
            return state.renew_write_lease(7, 1_000)

        return renew

    state = registry.update(model, meanwhile(lambda state: state.note(7, cutoff="now")))
    assert (state.versions[7].details["cutoff"], state.write_lease_until) == ("now", 1_000 + WRITE_LEASE)
    registry.update(model, lambda state: replace(state, write_lease_until=0))
    later = registry.update(model, meanwhile(lambda state: state.renew_write_lease(7, 5_000)))
    assert later.write_lease_until == registry.get(model).write_lease_until == 5_000 + WRITE_LEASE
    registry.update(model, lambda state: replace(state, write_lease_until=0))
    with pytest.raises(RegistryError, match="8 was opened after it"):
        registry.update(model, meanwhile(lambda state: state.open(0)))
    assert registry.get(model).write_lease_until == 0


def test_a_step_of_this_release_leaves_what_a_later_one_wrote(model, registry, table, written):
    state = ModelState(model, "customer")
    later = json.dumps({**json.loads(state.to_json()), "fenced_by": 1}).encode()
    written(document=(later, 2000), revision=(b"2", 2000))
    for step in (lambda: registry.update(model, lambda state: state.open(7)), lambda: registry.register(state)):
        with pytest.raises(RegistryError, match="fenced_by"):
            step()
    assert table.read_row(model).get_cells(REGISTRY_FAMILY, REGISTRY_DOCUMENT)[0].value == later


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"document": b"{}", "revision": b"1"}, "not a registry document"),
        ({"document": b"{}"}, "not a row of the registry"),
        ({"document": b"{}", "revision": b"one"}, "not a row of the registry"),
        ({"document": b"{}", "revision": b"1", "write_lease": b"soon"}, "not a write lease"),
    ],
)
def test_a_row_that_was_tampered_with_is_named(cells, model, problem, registry, written):
    written(**{column: (value, 1_000) for column, value in cells.items()})
    with pytest.raises(RegistryError, match=problem):
        registry.get(model)


@pytest.fixture
def behind(bigtable, instance):
    """A registry behind a proxy that changes calls."""
    with ExitStack() as proxies, pytest.MonkeyPatch.context() as environment:

        def behind(retry_seconds=60, **changes):
            environment.setenv("BIGTABLE_EMULATOR_HOST", proxies.enter_context(proxy(bigtable, **changes)))
            return Registry(instance, retry_seconds=retry_seconds)

        yield behind


RESET = grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"


@pytest.mark.parametrize(
    ("code", "details"),
    [
        RESET,
        (grpc.StatusCode.UNAVAILABLE, "a tablet moves"),
        (grpc.StatusCode.ABORTED, "try again"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "too late"),
    ],
)
@pytest.mark.parametrize("is_made", [True, False])
def test_a_step_whose_outcome_is_unknown_is_made_once(behind, code, details, is_made, model, registry):
    registry.register(ModelState(model, "customer"))
    reads, writes = iter([True]), iter([True])

    def fail_a_read(context, request, answers):
        if next(reads, False):
            context.abort(code, details)
        yield from answers()

    def fail_a_write(context, request, answers):
        if next(writes, False):
            if is_made:
                list(answers())
            context.abort(code, details)
        yield from answers()

    unreliable = behind(ReadRows=fail_a_read, CheckAndMutateRow=fail_a_write)
    opened = unreliable.update(model, lambda state: state.open(0))
    assert list(registry.get(model).versions) == [opened.latest] == [1]


def test_what_cannot_be_helped_is_not_tried_again(behind, model, registry):
    registry.register(ModelState(model, "customer"))
    calls = []

    def refuse(context, request, answers):
        calls.append(request)
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no right to do that")

    with pytest.raises(grpc.RpcError, match="no right to do that"):
        behind(CheckAndMutateRow=refuse).update(model, lambda state: state.open(0))
    assert len(calls) == 1


def test_a_registry_that_stays_away_is_not_waited_for_without_end(behind, model):
    def refuse(context, request, answers):
        context.abort(grpc.StatusCode.UNAVAILABLE, "away")

    began = time.monotonic()
    with pytest.raises(grpc.RpcError, match="away"):
        behind(retry_seconds=1, ReadRows=refuse).get(model)
    assert time.monotonic() - began < 5


def test_every_call_has_a_deadline(behind, model, registry):
    registry.register(ModelState(model, "customer"))
    remaining = []

    def note(context, request, answers):
        remaining.append(context.time_remaining())
        yield from answers()

    behind(ReadRows=note, CheckAndMutateRow=note).update(model, lambda state: state.open(0))
    assert len(remaining) == 2
    assert all(0 < seconds < 6 for seconds in remaining)


@pytest.mark.slow
def test_a_hundred_refreshes_leave_three_cells_even_before_garbage_collection(monkeypatch):
    # Google: "it can take up to a week before data that is eligible for garbage collection is actually removed".
    with bigtable_server(implementation="embedded", garbage_collection="off") as address:
        monkeypatch.setenv("BIGTABLE_EMULATOR_HOST", address)
        Tables(INSTANCE).ensure_registry()
        registry = Registry(INSTANCE)
        registry.register(ModelState("churn", "customer"))
        for now in range(0, 100_000_000, 1_000_000):
            version = registry.update("churn", lambda state, now=now: state.open(now)).latest
            registry.update("churn", lambda state, v=version: state.begin_export(v))
            for renewal in range(now, now + 60_000, 10_001):
                registry.update("churn", lambda state, v=version, at=renewal: state.renew_write_lease(v, at))
            registry.update("churn", lambda state, v=version: state.complete_export(v, RECEIPT))
            registry.update("churn", lambda state, v=version: _promoted(state, v))
            registry.update("churn", ModelState.forget)
        with BigtableDataClient(project=INSTANCE.project) as client:
            row = client.get_table(INSTANCE.instance, REGISTRY_TABLE).read_row("churn")
    assert Counter(cell.qualifier for cell in row) == {
        REGISTRY_DOCUMENT: 1,
        REGISTRY_REVISION: 1,
        REGISTRY_WRITE_LEASE: 1,
    }
    assert sum(len(cell.value) for cell in row) < 5_000


def _promoted(state, version):
    return state.promote(version, expected_active=state.active, expected=RECEIPT).confirm(version)


def test_production_code_opens_no_data_client():
    # Each starts threads that export metrics, and closing one waits for Cloud Monitoring.
    sources = [
        p for folder in ("prediction_store", "beam_jobs", "plugins", "dags") for p in (ROOT / folder).rglob("*.py")
    ]
    assert len(sources) > 30
    assert [
        path for path in sources if re.search(r"BigtableDataClient|google\.cloud\.bigtable\b", path.read_text())
    ] == []
