"""Beam's own connectors, the benchmark's reference, leave the same cells and receipt as the export job."""

import uuid

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from beam_jobs import export_predictions
from beam_jobs.launch import launch
from beam_jobs.options import BigtableOptions
from benchmarks.export import stock_connectors
from benchmarks.export.table_scan import all_cells
from prediction_store.layout import MAX_ENTITY_ID_BYTES, Instance, row_key
from prediction_store.lifecycle import ModelState, Receipt
from prediction_store.registry import Registry
from prediction_store.tables import Tables

MODEL = "repeat_purchase"
VERSION = 1_795_462_342_077

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
IDS = ANY_TEXT | st.integers(1, 10**9).map("{:09}".format) | st.just("x" * MAX_ENTITY_ID_BYTES)
PAYLOADS = st.none() | st.sampled_from(["1", '{"probability":0.48}']) | ANY_TEXT


@pytest.fixture
def export_to_new_instance(arguments):
    """Run an export of a BigQuery table to a new instance; return its cells and its receipt."""

    def run_export(run, source, row_keys):
        instance = Instance("demo", f"i{uuid.uuid4().hex[:12]}")
        tables = Tables(instance)
        tables.ensure_registry()
        registry = Registry(instance)
        tables.ensure_model(registry.register(ModelState(MODEL, "customer", row_keys)))
        registry.update(MODEL, lambda state: state.open(VERSION).begin_export(VERSION))
        run(arguments(MODEL, VERSION, bigtable_instance=instance.instance, source_table=source))
        return list(all_cells(instance.table("customer"))), registry.get(MODEL).versions[VERSION].receipt

    return run_export


@settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # shrinking would take minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rows=st.dictionaries(IDS, PAYLOADS, max_size=120), row_keys=st.sampled_from(["plain", "hashed"]))
@example(rows={}, row_keys="plain")
@example(rows={f"{n:09}": f'{{"n":{n}}}' if n % 100 else None for n in range(5_000)}, row_keys="hashed")
@example(rows={"small": "1", "large": "é" * 2_000_000, "gone": None, "larger": "x" * 5_000_000}, row_keys="plain")
def test_both_connectors_leave_the_same_cells_and_receipt(export_to_new_instance, source_table, rows, row_keys):
    source = source_table(rows.items())
    native = export_to_new_instance(export_predictions.run, source, row_keys)
    assert native == export_to_new_instance(stock_connectors.run, source, row_keys)
    assert native == (
        sorted((row_key(i, row_keys), MODEL, b"p", VERSION * 1000, (p or "").encode()) for i, p in rows.items()),
        Receipt(sum(p is not None for p in rows.values()), sum(p is None for p in rows.values())),
    )


@pytest.mark.parametrize(
    ("row", "problem"),
    [(("a", ""), "a payload is empty"), (("", "1"), "an entity id has 1 to"), ((None, "1"), "an entity id has 1 to")],
)
def test_both_connectors_refuse_the_same_rows(arguments, begin_export, new_model, problem, registry, row, source_table):
    model = new_model()
    version = begin_export(model)
    source = source_table([row])
    for run in (export_predictions.run, stock_connectors.run):
        with pytest.raises(Exception, match=problem):
            run(arguments(model, version, source_table=source))
    assert registry.get(model).versions[version].receipt is None


def test_rows_that_bigtable_refuses_to_stock_connectors_leave_no_receipt(
    arguments, begin_export, instance, registry, source_table
):
    registry.register(ModelState("unknown", "customer"))  # no column family of that name
    version = begin_export("unknown")
    options = arguments("unknown", version, source_table=source_table([("a", "1")]))
    with pytest.raises(Exception, match="Errors in batch mutations"):
        stock_connectors.run(options)
    assert registry.get("unknown").versions[version].receipt is None


def test_stock_connectors_write_nothing_of_an_aborted_version(
    arguments, begin_export, new_model, registry, source_table, stored
):
    model = new_model()
    version = begin_export(model)
    source = source_table([("a", "1")])
    options = PipelineOptions(arguments(model, version, source_table=source)).view_as(BigtableOptions)
    pipeline = beam.Pipeline(options=options)
    stock_connectors.build(pipeline, options, options.registered_version(), registry.get(model))
    registry.update(model, lambda state: state.abort(version, None, reason="a test", now=1))
    with stock_connectors.on_emulators(), pytest.raises(Exception, match=f"version {version} is aborted"):
        launch(pipeline, "export")
    assert stored(model, version) == {}
