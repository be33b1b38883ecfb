"""Documents of the registry that no release wrote: each is refused whole, and other models are served as before."""

import asyncio
import json
from copy import deepcopy

from hypothesis import example, given
from hypothesis import strategies as st

from prediction_store.layout import REGISTRY_DOCUMENT, REGISTRY_REVISION
from prediction_store.lifecycle import ModelState, Receipt
from serving_api.bigtable import BigtableClient
from serving_api.http.routes.models import ModelsView, _view
from serving_api.settings import Settings
from serving_api.store.catalog import Catalog
from serving_api.store.lookups import Lookups
from serving_api.telemetry import version_metrics
from serving_api.telemetry.metrics import Metrics

NONE = Receipt(0, 0)
METRICS = Metrics()
SETTINGS = Settings(project="p", instance="i")


def promoted(model, table):
    state = ModelState(model, table).open(1_700_000_000_000, "http://airflow/runs/1").begin_export(1_700_000_000_000)
    state = state.complete_export(1_700_000_000_000, NONE).note(1_700_000_000_000, metrics={"roc_auc": 0.8})
    state = state.promote(1_700_000_000_000, expected_active=None, expected=NONE)
    return state.open(1_700_000_000_001, "http://airflow/runs/1")


VALID = json.loads(promoted("m", "things").to_json())


def paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in items:
        yield from paths(child, (*path, key))


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["\ud800", 10**20, -1])
anything = st.recursive(scalars, lambda each: st.lists(each) | st.dictionaries(st.text(), each), max_leaves=4)


def changed(path, value, name):
    """The valid document with another value or another key at a path."""
    document = deepcopy(VALID)
    if not path:
        return value
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    old = parent.pop(path[-1])
    parent[path[-1] if name is None else name] = old if name is not None else value
    return document


def serve(document):
    """The names of the models that are served, of which `m` has this document, once all answers were made."""

    async def apply():
        lookups = Lookups(BigtableClient, SETTINGS, METRICS, None, None)
        catalog = Catalog(BigtableClient, SETTINGS, lookups, lambda *_: None)
        documents = {"m": document, "n": promoted("n", "users").to_json()}
        rows = {name: {REGISTRY_DOCUMENT: text, REGISTRY_REVISION: b"1"} for name, text in documents.items()}
        catalog._apply(rows.keys(), rows)
        models = catalog.snapshot.models
        version_metrics.exposition(catalog, "")
        ModelsView(models=[_view(models[name]) for name in models]).model_dump_json()
        return {*models}

    return asyncio.run(apply())


def test_the_valid_document_is_served():
    assert serve(json.dumps(VALID).encode()) == {"m", "n"}


@given(st.sampled_from(sorted(paths(VALID), key=str)), anything, st.none() | st.text() | st.just("1" + "0" * 20))
@example(("versions", "1700000000001", "details"), "x", None)
@example(("versions", "1700000000001", "details"), {"a": "\ud800"}, None)
@example(("versions", "1700000000001"), None, "1" + "0" * 20)
@example(("entity_type",), 5, None)
@example(("keep_versions",), "4", None)
def test_a_document_with_anything_anywhere_stops_no_other_model(path, value, name):
    assert "n" in serve(json.dumps(changed(path, value, name)).encode())


@given(st.binary())
@example(b"[" * 100_000)
@example(b'{"versions":' * 50_000)
@example(b"1" * 5_000)
def test_a_document_of_any_bytes_stops_no_other_model(document):
    assert "n" in serve(document)
