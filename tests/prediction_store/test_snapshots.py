"""Readers see one whole snapshot, after any sequence of exports, failures, purges, promotions and rollbacks."""

import os
import uuid
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from local_stack.bigtable import cbtemulator
from prediction_store.connection import channel, mutate_rows, read_rows, routing_metadata
from prediction_store.layout import TOMBSTONE, row_key
from prediction_store.lifecycle import ModelState, Receipt, RegistryError
from prediction_store.messages import (
    MutateRowsRequest,
    ReadRowsRequest,
    RowAssembler,
    prediction_entry,
    prediction_filter,
    purge_entry,
    read_request,
    stale_filter,
)
from prediction_store.registry import Registry
from prediction_store.tables import Tables
from tests.servers import INSTANCE, bigtable_server

ENTITIES = ["a", "b", "c", "d"]
KEEP_VERSIONS = 2

snapshots = st.dictionaries(st.sampled_from(ENTITIES), st.sampled_from(["1", "2", "3"]))


class Versions(RuleBasedStateMachine):
    """The store, compared with a dictionary of snapshots by version."""

    instance, registry, tables, channel = (None,) * 4  # set by the test

    def __init__(self):
        super().__init__()
        self.model = f"s{uuid.uuid4().hex[:12]}"
        self.table = self.instance.table("customer")
        self.metadata = (routing_metadata(self.table, ""),)
        self.state = self.registry.register(ModelState(self.model, "customer", keep_versions=KEEP_VERSIONS))
        self.tables.ensure_model(self.state)
        self.snapshots = {}  # of complete versions
        self.candidate = None  # the snapshot of the open version
        self.computed_against = None

    def step(self, transition):
        self.state = self.registry.update(self.model, transition)

    def mutate(self, entries):
        if entries:
            request = MutateRowsRequest(table_name=self.table, entries=entries)
            for response in mutate_rows(self.channel)(request.SerializeToString(), metadata=self.metadata):
                assert all(answer.status.code == 0 for answer in response.entries)

    def read(self, version):
        assembler = RowAssembler()
        keys = [row_key(entity, "plain") for entity in ENTITIES]
        request = read_request(self.table, "", keys, prediction_filter({self.model: version}))
        rows = [
            r for response in read_rows(self.channel)(request, metadata=self.metadata) for r in assembler.feed(response)
        ]
        return {key.decode(): cells[self.model].decode() for key, cells in rows if cells[self.model] != TOMBSTONE}

    def purge_if_stale(self, version, share=None):
        if not self.state.stale_versions(version):
            return
        self.step(lambda state: state.begin_purge(version))
        active = self.state.active or 0
        request = ReadRowsRequest(table_name=self.table, filter=stale_filter(self.model, active, version))
        assembler = RowAssembler()
        entries = []
        for response in read_rows(self.channel)(request, metadata=self.metadata):
            for key, _ in assembler.feed(response):
                entry = purge_entry(self.model, active, version)
                entry.row_key = key
                entries.append(entry)
        self.mutate(entries if share is None else entries[: round(share * len(entries))])
        if share is None:
            self.step(lambda state: state.mark_purged(version, above=active, began=0))

    def changes(self):
        old, new = self.snapshots.get(self.state.active, {}), self.candidate
        return {e: new.get(e) for e in sorted(old.keys() | new.keys()) if old.get(e) != new.get(e)}

    def write(self, changes):
        entries = []
        for entity, value in changes:
            entry, cell = prediction_entry(self.model, self.state.latest)
            entry.row_key = row_key(entity, "plain")
            cell.value = TOMBSTONE if value is None else value.encode()
            entries.append(entry)
        self.mutate(entries)

    @rule(snapshot=snapshots)
    def open_version(self, snapshot):
        self.step(lambda state: state.open(0))
        self.candidate, self.computed_against = snapshot, self.state.active

    @precondition(lambda self: self.can_export())
    @rule(share=st.floats(0, 1))
    def export_fails(self, share):
        version = self.state.latest
        self.purge_if_stale(version)
        self.step(lambda state: state.begin_export(version))
        changes = list(self.changes().items())
        self.write(changes[: round(share * len(changes))])

    @precondition(lambda self: self.can_export())
    @rule()
    def export(self):
        version = self.state.latest
        self.purge_if_stale(version)
        self.step(lambda state: state.begin_export(version))
        self.write(self.changes().items())
        self.step(lambda state: state.complete_export(version, self.expected()))
        assert self.read(version) == self.candidate  # the smoke test reads this

    @precondition(lambda self: self.candidate is not None)
    @rule(share=st.floats(0, 1))
    def purge_fails(self, share):
        with suppress(RegistryError):  # a ready version
            self.purge_if_stale(self.state.latest, share)

    @precondition(lambda self: self.can_export())
    @rule()
    def hold(self):
        counts = {"written": self.expected().predictions, "tombstones": self.expected().tombstones}
        version = self.state.latest
        self.step(lambda state: state.note(version, counts=counts).hold(version, reason="a test", now=1))

    @precondition(lambda self: self.state.forward_targets())
    @rule(data=st.data())
    def go_forward(self, data):
        to = data.draw(st.sampled_from(self.state.forward_targets()))
        self.step(lambda state: state.switch(to, reason="a test", now=1))
        if to not in self.snapshots:
            self.snapshots[to], self.candidate = self.candidate, None

    @precondition(lambda self: self.candidate is not None)
    @rule()
    def promote(self):
        version = self.state.latest
        try:
            self.step(
                lambda state: state.promote(version, expected_active=self.computed_against, expected=self.expected())
            )
        except RegistryError:
            return
        self.snapshots[version] = self.candidate
        self.candidate = None

    @rule(snapshot=snapshots)
    def refresh(self, snapshot):
        self.open_version(snapshot)
        self.export()
        self.promote()

    @precondition(lambda self: self.candidate is not None)
    @rule()
    def abort(self):
        self.step(lambda state: state.abort(state.latest, self.computed_against, reason="a test", now=1))

    @precondition(lambda self: self.state.active is not None)
    @rule()
    def confirm(self):
        self.step(lambda state: state.confirm(state.active))

    @rule(keep_versions=st.integers(1, KEEP_VERSIONS))
    def configure(self, keep_versions):
        self.state = self.registry.register(ModelState(self.model, "customer", keep_versions=keep_versions))
        self.tables.ensure_model(self.state)

    @precondition(lambda self: self.state.rollback_targets())
    @rule(data=st.data())
    def roll_back(self, data):
        to = data.draw(st.sampled_from(self.state.rollback_targets()))
        self.step(lambda state: state.roll_back(to, reason="a test", now=1))

    @rule(first=snapshots, second=snapshots, following=snapshots, is_held=st.booleans())
    def roll_back_by_mistake(self, first, second, following, is_held):
        """Steps after which readers may go forward, or must not. Random steps alone rarely add up to them."""
        self.refresh(first)
        self.refresh(second)
        if is_held:
            self.open_version(following)
            self.export()
            self.hold()
        if not self.state.rollback_targets():
            return
        to = self.state.rollback_targets()[0]
        self.step(lambda state: state.switch(to, reason="a mistake", now=1))
        if not is_held:
            self.open_version(following)

    @precondition(lambda self: self.candidate is None)
    @rule(entity=st.sampled_from(ENTITIES))
    def erase(self, entity):
        # The steps of docs/security.md: the row, then the entity's rows in the tables of all versions.
        entry = MutateRowsRequest.Entry(row_key=row_key(entity, "plain"))
        entry.mutations.add().delete_from_row.SetInParent()
        self.mutate([entry])
        for version, snapshot in self.snapshots.items():
            self.snapshots[version] = {other: value for other, value in snapshot.items() if other != entity}

    @rule()
    def forget(self):
        self.step(ModelState.forget)

    def can_export(self):
        return self.candidate is not None and self.state.active == self.computed_against

    def expected(self):
        tombstones = sum(value is None for value in self.changes().values())
        return Receipt(len(self.changes()) - tombstones, tombstones)

    @invariant()
    def readers_see_the_active_snapshot(self):
        if self.state.active is not None:
            assert self.read(self.state.active) == self.snapshots[self.state.active]

    @invariant()
    def every_version_to_go_forward_to_is_whole(self):
        for version in self.state.forward_targets():
            assert self.read(version) == self.snapshots.get(version, self.candidate)

    @invariant()
    def every_rollback_target_is_whole(self):
        for version in self.state.rollback_targets():
            assert self.read(version) == self.snapshots[version]


@pytest.mark.parametrize(
    "options",
    [
        {"implementation": "cbtemulator"},
        {"implementation": "embedded", "garbage_collection": "eager"},
        {"implementation": "embedded", "garbage_collection": "lazy"},
        {"implementation": "embedded", "garbage_collection": "off"},
    ],
    ids=lambda options: "-".join(options.values()),
)
@pytest.mark.slow
def test_readers_always_see_one_whole_snapshot(monkeypatch, options):
    if options["implementation"] == "cbtemulator" and cbtemulator.find(os.environ) is None:
        pytest.skip("cbtemulator is not installed")
    with bigtable_server(**options) as address:
        monkeypatch.setenv("BIGTABLE_EMULATOR_HOST", address)
        tables = Tables(INSTANCE)
        tables.ensure_registry()
        with channel() as opened:
            _run(instance=INSTANCE, registry=Registry(INSTANCE), tables=tables, channel=opened)


def _run(**attributes):
    machine = type("Versions", (Versions,), attributes)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
