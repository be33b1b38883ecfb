import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.cloud.bigtable.data import BigtableDataClient, DeleteAllFromRow, SetCell

from prediction_store.layout import REGISTRY_DOCUMENT, REGISTRY_FAMILY, REGISTRY_REVISION, REGISTRY_TABLE
from prediction_store.lifecycle import ModelState, RegistryError
from prediction_store.registry import Registry


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


def test_row_keys_do_not_change_under_existing_versions(registry, model):
    registry.register(ModelState(model, "customer"))
    registry.update(model, lambda state: state.open(7))
    with pytest.raises(RegistryError, match="row_keys cannot change from 'customer', 'plain'"):
        registry.register(ModelState(model, "customer", "hashed"))


def test_a_refused_step_changes_nothing(registry, model):
    registry.register(ModelState(model, "customer"))
    before = registry.update(model, lambda state: state.open(7))
    with pytest.raises(RegistryError):
        registry.update(model, lambda state: state.roll_back(3))
    assert registry.get(model) == before


def test_the_last_step_counts_even_after_one_by_a_machine_whose_clock_is_ahead(instance, registry, model, monkeypatch):
    registry.register(ModelState(model, "customer"))
    with monkeypatch.context() as ahead:
        now = time.time_ns()
        ahead.setattr(time, "time_ns", lambda: now + 3_600_000_000_000)
        registry.update(model, lambda state: state.open(7))
    registry.update(model, lambda state: state.open(8))
    assert registry.get(model).latest == 8


def test_steps_that_race_are_all_made(instance, registry, model):
    registry.register(ModelState(model, "customer"))

    def open_two(_):
        with Registry(instance) as own:
            return [own.update(model, lambda state: state.open(0)).latest for _ in range(2)]

    with ThreadPoolExecutor(4) as pool:
        opened = [version for pair in pool.map(open_two, range(4)) for version in pair]
    assert sorted(opened) == list(range(1, 9))
    assert sorted(registry.get(model).versions) == sorted(opened)


def test_a_step_of_this_release_leaves_what_a_later_one_wrote(instance, registry, model):
    state = registry.register(ModelState(model, "customer"))
    later = json.dumps({**json.loads(state.to_json()), "fenced_by": 1}).encode()
    with BigtableDataClient(project=instance.project) as client:
        table = client.get_table(instance.instance, REGISTRY_TABLE)
        cells = [
            SetCell(REGISTRY_FAMILY, REGISTRY_DOCUMENT, later, 2000),
            SetCell(REGISTRY_FAMILY, REGISTRY_REVISION, b"2", 2000),
        ]
        table.mutate_row(model, cells)
        try:
            for step in (lambda: registry.update(model, lambda state: state.open(7)), lambda: registry.register(state)):
                with pytest.raises(RegistryError, match="fenced_by"):
                    step()
            assert table.read_row(model).get_cells(REGISTRY_FAMILY, REGISTRY_DOCUMENT)[0].value == later
        finally:
            table.mutate_row(model, DeleteAllFromRow())


def test_a_document_that_was_tampered_with_is_named(instance, registry, model):
    client = BigtableDataClient(project=instance.project)
    with client.get_table(instance.instance, REGISTRY_TABLE) as table:
        table.mutate_row(
            model,
            [SetCell(REGISTRY_FAMILY, REGISTRY_DOCUMENT, b"{}"), SetCell(REGISTRY_FAMILY, REGISTRY_REVISION, b"1")],
        )
    try:
        with pytest.raises(RegistryError, match="not a registry document"):
            registry.get(model)
    finally:
        with client.get_table(instance.instance, REGISTRY_TABLE) as table:
            table.mutate_row(model, DeleteAllFromRow())
        client.close()
