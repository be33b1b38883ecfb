"""The export job, from a BigQuery emulator to a Bigtable emulator."""

import json

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_jobs import export_predictions
from beam_jobs.launch import launch
from beam_jobs.options import BigtableOptions
from prediction_store.layout import MAX_ENTITY_ID_BYTES
from prediction_store.lifecycle import ModelState, Receipt, RegistryError


@pytest.fixture
def export(arguments, begin_export, source_table):
    """Export rows as a new version of a model; return the version."""

    def export_rows(model, rows):
        version = begin_export(model)
        export_predictions.run(arguments(model, version, source_table=source_table(rows)))
        return version

    return export_rows


def receipt(registry, model, version):
    return registry.get(model).versions[version].receipt


def test_an_empty_table_leaves_the_receipt_of_an_empty_export(export, new_model, registry, stored):
    model = new_model()
    version = export(model, [])
    assert stored(model, version) == {}
    assert receipt(registry, model, version) == Receipt(0, 0)


def test_many_rows_take_several_requests(export, new_model, registry, stored):
    model = new_model()
    rows = [(f"{number:06}", f'{{"n":{number}}}') for number in range(12_345)]
    version = export(model, rows)
    assert stored(model, version) == dict(rows)
    assert receipt(registry, model, version) == Receipt(12_345, 0)


def test_any_id_and_large_payloads_arrive_whole(export, new_model, stored):
    model = new_model()
    rows = [("é/ü ☃", "1"), ("large", '"' + "x" * 5_000_000 + '"'), ("\U0001f600", '{"a":[]}')]
    rows += [(id_, json.dumps(id_)) for id_ in (".", "..", "\0", "\n", "a\u0301", "\ufeff", "x" * MAX_ENTITY_ID_BYTES)]
    version = export(model, rows)
    assert stored(model, version) == dict(rows)


def test_hashed_row_keys(export, new_model, stored):
    model = new_model(row_keys="hashed")
    version = export(model, [("00001", "1"), ("00002", "2")])
    assert stored(model, version, "hashed") == {"00001": "1", "00002": "2"}


def test_predictions_and_tombstones_are_written_and_counted_the_same_when_exported_again(
    arguments, begin_export, new_model, registry, source_table, stored
):
    model = new_model()
    version = begin_export(model)
    table = source_table([("a", '{"p":1}'), ("b", '{"p":2}'), ("c", None)])
    for _ in range(2):
        export_predictions.run(arguments(model, version, source_table=table))
        assert stored(model, version) == {"a": '{"p":1}', "b": '{"p":2}', "c": ""}
        assert receipt(registry, model, version) == Receipt(predictions=2, tombstones=1)


def test_only_a_version_whose_export_has_begun_is_exported(arguments, new_model, registry, source_table):
    model = new_model()
    version = registry.update(model, lambda state: state.open(0)).latest
    options = arguments(model, version, source_table=source_table([("a", "1")]))
    with pytest.raises(RegistryError, match=f"version {version} is open; begin its export first"):
        export_predictions.run(options)


def test_rows_that_bigtable_refuses_leave_no_receipt(arguments, begin_export, instance, registry, source_table):
    model = "unheard_of"
    registry.register(ModelState(model, "customer"))  # no column family of that name
    version = begin_export(model)
    with pytest.raises(Exception, match=r"Bigtable refused 1 rows, the first: b'a': .*unheard_of"):
        export_predictions.run(arguments(model, version, source_table=source_table([("a", "1")])))
    assert receipt(registry, model, version) is None


def test_an_id_that_does_not_fit_leaves_no_receipt(arguments, begin_export, new_model, registry, source_table):
    model = new_model()
    version = begin_export(model)
    with pytest.raises(Exception, match="an entity id has 1 to"):
        export_predictions.run(arguments(model, version, source_table=source_table([("a", "1"), ("", "2")])))
    assert receipt(registry, model, version) is None


def test_an_export_stops_if_its_version_was_aborted_after_the_job_was_submitted(
    arguments, begin_export, new_model, registry, source_table, stored
):
    model = new_model()
    version = begin_export(model)
    source = source_table([("a", "1")])
    options = PipelineOptions(arguments(model, version, source_table=source)).view_as(BigtableOptions)
    pipeline = beam.Pipeline(options=options)
    export_predictions.build(pipeline, options, options.registered_version(), registry.get(model))
    registry.update(model, lambda state: state.abort(version, None, reason="a test", now=1))
    with pytest.raises(Exception, match=f"version {version} is aborted"):
        launch(pipeline, "export")
    assert stored(model, version) == {}


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("source_table", "exports.t", "'exports.t' is not a table's full name; write PROJECT.DATASET.TABLE"),
        ("max_rows_per_second", "0", "0 is not greater than 0"),
        ("write_deadline_seconds", "-1", "-1 is not greater than 0"),
        ("version", "latest", "invalid int value: 'latest'"),
        ("max_row_per_second", "5", "unrecognized arguments: --max_row_per_second=5"),
    ],
)
def test_wrong_options_are_named(arguments, capsys, option, value, problem):
    wanted = {"source_table": "demo.exports.t", option: value}
    with pytest.raises(SystemExit):
        export_predictions.run(arguments("m", wanted.pop("version", 5), **wanted))
    error = capsys.readouterr().err
    assert problem in error
    assert f"--{option}" in error


def test_an_export_needs_a_table(arguments):
    with pytest.raises(SystemExit, match="--source_table is missing"):
        export_predictions.run(arguments("m", 5))
