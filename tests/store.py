"""Predictions in a Bigtable, written the way refreshes write them; the fixture is for suites to import."""

import itertools
import time

import pytest

from prediction_store import layout
from prediction_store.connection import channel, mutate_rows
from prediction_store.lifecycle import ModelState, Receipt
from prediction_store.messages import MutateRowsRequest, prediction_entry
from prediction_store.registry import Registry
from prediction_store.tables import Tables
from tests.servers import INSTANCE, bigtable_server


@pytest.fixture(scope="session")
def store():
    """A store in a Bigtable of its own."""
    with bigtable_server() as address:
        store = Store(address)
        yield store
        store.close()


class Store:
    """Registers models in the Bigtable at an address, and writes and promotes versions of them."""

    def __init__(self, address):
        self.address = address
        self._names = (f"m{n}" for n in itertools.count(1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("BIGTABLE_EMULATOR_HOST", address)
            self._channel = channel()
            self.registry = Registry(INSTANCE)
            self._tables = Tables(INSTANCE)
        self._tables.ensure_registry()

    def close(self):
        self._channel.close()

    def model(self, entity_type=None, *, name=None, **settings):
        """Register a model, under a new name if none is given; return its name."""
        name = name or next(self._names)
        state = self.registry.register(ModelState(name, entity_type or f"entity_{name}", **settings))
        self._tables.ensure_model(state)
        return name

    def begin_export(self, model, run="", now=None):
        """Open a version and begin its export, without cells; return it. `now` is the time of the version, in ms."""
        now = now or int(time.time() * 1000)
        state = self.registry.update(model, lambda s: s.open(now, run))
        self.registry.update(model, lambda s: s.begin_export(state.latest))
        return state.latest

    def write(self, model, version, predictions):
        """Write cells of a version, {entity id: payload or None}."""
        state = self.registry.get(model)
        entry, cell = prediction_entry(model, version)
        request = MutateRowsRequest(table_name=INSTANCE.table(state.entity_type))
        for entity_id, payload in predictions.items():
            entry.row_key = layout.row_key(entity_id, state.row_keys)
            cell.value = layout.TOMBSTONE if payload is None else payload
            request.entries.append(entry)
        for response in mutate_rows(self._channel)(request.SerializeToString()):
            assert all(written.status.code == 0 for written in response.entries)

    def complete_export(self, model, version, predictions):
        """Record the receipt of a version."""
        self.registry.update(model, lambda s: s.complete_export(version, _receipt(predictions)))

    def export(self, model, predictions, run="", now=None):
        """Write a new version, {entity id: payload or None}, without promoting it; return it."""
        version = self.begin_export(model, run, now)
        self.write(model, version, predictions)
        self.complete_export(model, version, predictions)
        return version

    def promote(self, model, version, predictions):
        self.registry.update(
            model, lambda s: s.promote(version, expected_active=s.active, expected=_receipt(predictions))
        )

    def refresh(self, model, predictions):
        """Write a new version and promote it; return it."""
        version = self.export(model, predictions)
        self.promote(model, version, predictions)
        return version


def _receipt(predictions):
    tombstones = sum(payload is None for payload in predictions.values())
    return Receipt(len(predictions) - tombstones, tombstones)
