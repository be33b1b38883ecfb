import base64

import apache_beam as beam
import grpc
import pyarrow as pa
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from google.cloud.bigtable_v2.types import FeatureFlags

from beam_jobs import purge_stale_cells
from beam_jobs.bulk_writer import BulkWriter, Target
from beam_jobs.flow_control import FlowControl
from beam_jobs.launch import launch
from beam_jobs.mutations import prediction_entries
from beam_jobs.options import BigtableOptions
from prediction_store.connection import channel
from prediction_store.layout import row_key
from prediction_store.lifecycle import Receipt, RegistryError, Status
from prediction_store.messages import ReadRowsRequest, ReadRowsResponse


@pytest.fixture
def write(instance):
    """Write cells of a version."""

    def write_cells(model, version, cells):
        with channel() as opened:
            writer = BulkWriter(opened, Target(instance.table("customer"), "", 5), FlowControl())
            keys, payloads = pa.array(cells.keys(), pa.binary()), pa.array(cells.values(), pa.binary())
            writer.add(prediction_entries(keys, payloads, model, version))
            writer.flush()

    return write_cells


@pytest.fixture
def stale_model(new_model, registry, write):
    """A model with an active version, the cells of an aborted one above it, and an open version."""
    model = new_model()
    registry.update(model, lambda state: state.open(10))
    registry.update(model, lambda state: state.begin_export(10))
    write(model, 10, {f"{n:05}": "active" for n in range(3000)})
    registry.update(model, lambda state: state.complete_export(10, Receipt(3000, 0)))
    registry.update(model, lambda state: state.promote(10, expected_active=None, expected=Receipt(3000, 0)))
    registry.update(model, lambda state: state.open(20))
    registry.update(model, lambda state: state.begin_export(20))
    write(model, 20, {f"{n:05}": "stale" for n in range(1000, 6000)})
    registry.update(model, lambda state: state.abort(20, 10, reason="a test", now=1))
    registry.update(model, lambda state: state.open(30))
    return model


def test_stale_cells_are_deleted_and_no_others_however_often(
    arguments, new_model, registry, stale_model, stored, write
):
    other = new_model()
    write(other, 99, {"00001": "another model's"})
    write(stale_model, 30, {"00001": "of the version to be exported"})
    for _ in range(2):
        purge_stale_cells.run(arguments(stale_model, 30))
        assert stored(stale_model, 29) == {f"{n:05}": "active" for n in range(3000)}
        assert stored(stale_model, 99)["00001"] == "of the version to be exported"
        assert stored(other, 99) == {"00001": "another model's"}
        state = registry.get(stale_model)
        assert state.stale_versions(30) == []
        assert state.versions[20].status is Status.PURGED


@pytest.fixture
def scans(through):
    """The reads of key ranges since the start of the test."""
    scans = []

    def note(context, request, answers):
        if ReadRowsRequest.FromString(request).rows.row_ranges:
            scans.append(request)
        yield from answers()

    through("BIGTABLE_EMULATOR_HOST", ReadRows=note)
    return scans


def test_the_rows_of_a_stale_version_are_those_of_its_changes(
    arguments, registry, scans, source_table, stale_model, stored, write
):
    write(stale_model, 15, {"00001": "stale too", "elsewhere": "not named, so left alone"})
    first = source_table([(f"{n:05}", "stale") for n in range(1000, 6000)])
    second = source_table([("00001", None)])
    purge_stale_cells.run([*arguments(stale_model, 30, active=10, changes_table=first), f"--changes_table={second}"])
    left = {f"{n:05}": "active" for n in range(3000)} | {"elsewhere": "not named, so left alone"}
    assert stored(stale_model, 99) == left
    assert registry.get(stale_model).versions[20].status is Status.PURGED
    assert scans == []


def test_rows_with_hashed_keys_are_purged_by_their_ids(arguments, new_model, registry, source_table, stored, write):
    model = new_model(row_keys="hashed")
    registry.update(model, lambda state: state.open(20))
    registry.update(model, lambda state: state.begin_export(20))
    write(model, 20, {row_key("a", "hashed").decode(): "stale"})
    registry.update(model, lambda state: state.abort(20, None, reason="a test", now=1).open(30))
    purge_stale_cells.run(arguments(model, 30, active=0, changes_table=source_table([("a", "stale")])))
    assert stored(model, 99, "hashed") == {}


@pytest.mark.parametrize("version", [10, 20, 31])
def test_only_the_version_to_be_exported_next_may_purge(arguments, stale_model, stored, version):
    with pytest.raises(RegistryError, match=f"version {version} is not about to be exported"):
        purge_stale_cells.run(arguments(stale_model, version))
    assert len(stored(stale_model, 99)) == 6000


def test_a_purge_fails_if_a_rollback_happens_meanwhile(arguments, registry, stale_model):
    # The cells of the version that was rolled back were not purged.
    before = registry.get(stale_model)
    exported = before.mark_purged(30, above=10, began=0).begin_export(30).complete_export(30, Receipt(0, 0))
    when_it_began = exported.promote(30, expected_active=10, expected=Receipt(0, 0)).open(40)
    options = PipelineOptions(arguments(stale_model, 40)).view_as(BigtableOptions)
    pipeline = beam.Pipeline(options=options)
    purge_stale_cells.build(pipeline, options, options.registered_version(), when_it_began)
    with pytest.raises(Exception, match="purged above 30, but 10 is active now; purge again"):
        launch(pipeline, "purge")
    assert registry.get(stale_model) == before


def test_a_purge_that_was_started_before_a_rollback_is_refused(arguments, registry, source_table, stale_model, stored):
    # The version that readers left is stale too: its table is not among those given, and services may still read it.
    table = source_table([(f"{n:05}", "stale") for n in range(1000, 6000)])
    for options in ({"active": 15}, {"active": 15, "changes_table": table}, {"changes_table": table}):
        with pytest.raises(RegistryError, match=r"was started above (15|None) .*, but 10 is active now; purge again"):
            purge_stale_cells.run(arguments(stale_model, 30, **options))
    assert registry.get(stale_model).stale_versions(30) == [20]
    assert len(stored(stale_model, 99)) == 6000


def test_a_read_that_breaks_off_is_resumed_after_the_last_row(arguments, registry, stale_model, stored, through):
    broken, resumed = [], []

    def break_off(context, request, answers):
        asked = ReadRowsRequest.FromString(request)
        purging = bool(asked.rows.row_ranges)
        if purging and asked.rows.row_ranges[0].start_key_open:
            resumed.append(asked.rows.row_ranges[0].start_key_open)
        for answer in answers():
            yield answer
            chunks = ReadRowsResponse.FromString(answer).chunks
            if purging and chunks and len(broken) < 3:
                broken.append(chunks[-1].row_key)
                context.abort(grpc.StatusCode.UNAVAILABLE, "a tablet moved")

    through("BIGTABLE_EMULATOR_HOST", ReadRows=break_off)
    purge_stale_cells.run(arguments(stale_model, 30))
    assert resumed == broken
    assert stored(stale_model, 99) == {f"{n:05}": "active" for n in range(3000)}


def test_a_read_that_finds_nothing_for_long_goes_on_after_the_last_key_that_was_scanned(
    arguments, registry, stale_model, stored, through
):
    # Bigtable sends such keys to clients that declare it, and nothing else while rows are filtered out.
    scanned = iter([b"0", b"00", b"000"])
    starts = []

    def scan_slowly(context, request, answers):
        asked = ReadRowsRequest.FromString(request)
        first = asked.rows.row_ranges and asked.rows.row_ranges[0].start_key_closed == b""
        if not first:
            yield from answers()
            return
        flags = dict(context.invocation_metadata())["bigtable-features"]
        assert FeatureFlags.deserialize(base64.urlsafe_b64decode(flags)).last_scanned_row_responses
        starts.append(asked.rows.row_ranges[0].start_key_open)
        if (key := next(scanned, None)) is None:
            yield from answers()
            return
        yield ReadRowsResponse(last_scanned_row_key=key).SerializeToString()
        context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "ten minutes are over")

    through("BIGTABLE_EMULATOR_HOST", ReadRows=scan_slowly)
    purge_stale_cells.run(arguments(stale_model, 30, write_deadline_seconds=1))
    assert starts == [b"", b"0", b"00", b"000"]
    assert stored(stale_model, 99) == {f"{n:05}": "active" for n in range(3000)}


def test_a_read_is_resumed_after_a_reset(arguments, stale_model, stored, through):
    requests = []

    def reset_once(context, request, answers):
        if ReadRowsRequest.FromString(request).rows.row_ranges:
            requests.append(request)
            if len(requests) == 1:
                context.abort(grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2")
        yield from answers()

    through("BIGTABLE_EMULATOR_HOST", ReadRows=reset_once)
    purge_stale_cells.run(arguments(stale_model, 30))
    assert stored(stale_model, 99) == {f"{n:05}": "active" for n in range(3000)}


def test_a_read_that_keeps_failing_fails_the_purge(arguments, registry, stale_model, through):
    def refuse(context, request, answers):
        if ReadRowsRequest.FromString(request).table_name.endswith("/customer"):
            context.abort(grpc.StatusCode.UNAVAILABLE, "no tablet")
        yield from answers()

    through("BIGTABLE_EMULATOR_HOST", ReadRows=refuse)
    with pytest.raises(Exception, match="no tablet"):
        purge_stale_cells.run(arguments(stale_model, 30, write_deadline_seconds=1))
    assert registry.get(stale_model).stale_versions(30) == [20]
