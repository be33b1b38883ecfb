"""A Bigtable with predictions, written like a refresh writes them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.serving.predictions import ENTITY_TYPE, INSTANCE, MODEL, VERSION, entity_id, payload
from benchmarks.serving.servers import pinned
from local_stack.servers import BIGTABLE, running
from prediction_store.connection import channel, mutate_rows, routing_metadata
from prediction_store.layout import row_key
from prediction_store.lifecycle import ModelState, Receipt
from prediction_store.messages import MutateRowsRequest, prediction_entry
from prediction_store.registry import Registry
from prediction_store.tables import Tables

_ROWS_PER_REQUEST = 10_000


@dataclass(frozen=True, slots=True)
class Store:
    """A running Bigtable: its address, HOST:PORT, and its implementation."""

    address: str
    implementation: str


@contextmanager
def store(implementation: str, cores: set[int]) -> Iterator[Store]:
    """Run an empty Bigtable.

    Args:
        implementation: auto, cbtemulator or embedded.
        cores: the CPUs that it may use.

    Raises:
        RuntimeError: Bigtable did not start as expected.
    """
    with pinned(cores):
        server = running(*BIGTABLE, "--implementation", implementation)
    with server as line:
        found = re.search(r"\((\w+)\) is serving at (\S+)", line)
        if found is None:
            raise RuntimeError(f"Bigtable started with an unexpected line: {line!r}")
        yield Store(found[2], found[1])


def fill(entities: int, versions: int = 1) -> None:
    """Write promoted versions with a prediction of each entity to the Bigtable at `BIGTABLE_EMULATOR_HOST`.

    The last one is `VERSION`.
    """
    tables = Tables(INSTANCE)
    tables.ensure_registry()
    tables.ensure_model(Registry(INSTANCE).register(ModelState(MODEL, ENTITY_TYPE)))
    for before in reversed(range(versions)):
        refresh(entities, VERSION - before)


def refresh(entities: int, now: int) -> None:
    """Write and promote a version that was opened at a time, with the same predictions as all versions."""
    receipt, registry = Receipt(entities, 0), Registry(INSTANCE)
    opened = registry.update(MODEL, lambda state: state.open(now))
    active, version = opened.active, opened.latest
    registry.update(MODEL, lambda state: state.begin_export(version))
    _write(entities, version)
    registry.update(MODEL, lambda state: state.complete_export(version, receipt))
    registry.update(MODEL, lambda state: state.promote(version, expected_active=active, expected=receipt).forget())


def _write(entities: int, version: int) -> None:
    table = INSTANCE.table(ENTITY_TYPE)
    entry, cell = prediction_entry(MODEL, version)
    with channel() as opened:
        write = mutate_rows(opened)
        for start in range(0, entities, _ROWS_PER_REQUEST):
            request = MutateRowsRequest(table_name=table)
            for number in range(start, min(start + _ROWS_PER_REQUEST, entities)):
                entry.row_key, cell.value = row_key(entity_id(number), "plain"), payload(number)
                request.entries.append(entry)
            for response in write(request.SerializeToString(), metadata=(routing_metadata(table, ""),)):
                if any(written.status.code for written in response.entries):
                    raise RuntimeError(f"{table}: the emulator did not write some rows")
