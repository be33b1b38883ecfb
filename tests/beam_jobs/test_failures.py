"""The export job when BigQuery and Bigtable fail or are slow: emulators behind proxies that change their answers."""

import itertools
import threading
import time
import uuid
from functools import cache

import apache_beam as beam
import grpc
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import PipelineOptions
from google.cloud.bigquery_storage_v1.types import ReadRowsRequest

from beam_jobs import bigquery_source, export_predictions
from beam_jobs.bigtable_sink import WritePredictions
from beam_jobs.options import BigtableOptions
from prediction_store.connection import FEATURES
from prediction_store.lifecycle import Receipt
from prediction_store.messages import MutateRowsRequest, MutateRowsResponse

ROWS = 70_000  # two messages of BigQuery
FEWER = 30_000  # 15 requests to Bigtable


@pytest.fixture(scope="module")
def changes(warehouse):
    """Make a table of changes with so many rows, once; return its name and its rows."""

    @cache
    def make(count):
        name = f"demo.exports.large_{count}"
        warehouse.query_and_wait(
            f"CREATE TABLE {name} AS SELECT CONCAT('customer-', CAST(n AS STRING)) AS entity_id, "
            f"IF(MOD(n, 10) = 0, NULL, CAST(n * n AS STRING)) AS payload FROM UNNEST(GENERATE_ARRAY(1, {count})) AS n"
        )
        return name, {f"customer-{n}": "" if n % 10 == 0 else str(n * n) for n in range(1, count + 1)}

    return make


@pytest.fixture
def export_large(arguments, begin_export, changes, new_model, registry, stored):
    """Export a large table as the first version of a model, and check cells and receipt; return the job's counters."""

    def export_rows(count, model=None, **options):
        model = model or new_model(f"customer_{uuid.uuid4().hex[:8]}")  # small tables are scanned faster
        version = registry.get(model).latest or begin_export(model)
        table, expected = changes(count)
        parsed = PipelineOptions(arguments(model, version, source_table=table, **options)).view_as(BigtableOptions)
        pipeline = beam.Pipeline(options=parsed)
        export_predictions.build(pipeline, parsed, parsed.registered_version(), registry.get(model))
        result = pipeline.run()
        result.wait_until_finish()
        assert stored(model, version) == expected
        assert registry.get(model).versions[version].receipt == Receipt(count - count // 10, count // 10)
        counters = result.metrics().query(MetricsFilter().with_namespace("export"))["counters"]
        return {counter.key.metric.name: counter.committed for counter in counters}

    return export_rows


def test_the_counters_of_an_undisturbed_export(export_large):
    counters = export_large(ROWS)
    assert counters.pop("bytes") > 40 * ROWS
    assert counters == {
        "rows_read": ROWS,
        "predictions": ROWS - ROWS // 10,
        "tombstones": ROWS // 10,
        "retries": 0,
        "cumulativeThrottlingSeconds": 0,
    }


def test_a_broken_stream_is_resumed_at_its_offset(export_large, through):
    offsets = []

    def break_after_one_message(context, request, answers):
        offsets.append(ReadRowsRequest.deserialize(request).offset)
        yield from itertools.islice(answers(), 1)
        if len(offsets) < 2:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the connection broke")

    through("BIGQUERY_STORAGE_EMULATOR_HOST", ReadRows=break_after_one_message)
    assert export_large(ROWS)["rows_read"] == ROWS
    assert offsets == [0, 65_536]


def test_rows_with_transient_errors_are_written_and_counted_once(export_large, through):
    # In every third response, some rows have an error although they were written.
    numbers = itertools.count()

    def fail_some(context, request, answers):
        for answer in answers():
            response = MutateRowsResponse.FromString(answer)
            if next(numbers) % 3 == 0:
                for entry in response.entries[::100]:
                    entry.status.code = grpc.StatusCode.UNAVAILABLE.value[0]
            yield response.SerializeToString()

    through("BIGTABLE_EMULATOR_HOST", MutateRows=fail_some)
    assert export_large(FEWER)["retries"] > 0


def test_an_export_that_failed_half_way_can_be_run_again(export_large, new_model, through):
    model, numbers = new_model("half_way"), itertools.count()

    def refuse_later(context, request, answers):
        if next(numbers) == 8:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "not any more")
        yield from answers()

    through("BIGTABLE_EMULATOR_HOST", MutateRows=refuse_later)
    with pytest.raises(Exception, match=r"refused 2000 rows, the first: .* PERMISSION_DENIED not any more"):
        export_large(FEWER, model)
    export_large(FEWER, model)


class Overseer:
    """Asks clients that follow the rate limit to send `target` rows per second."""

    period = 0.25  # seconds

    def __init__(self, target):
        self.target = target
        self.arrivals = []  # (time, rows)
        self.flags = set()
        self._lock = threading.Lock()

    def __call__(self, context, request, answers):
        metadata = dict(context.invocation_metadata())
        self.flags.add(metadata["bigtable-features"])
        with self._lock:
            self.arrivals.append((time.monotonic(), len(MutateRowsRequest.FromString(request).entries)))
        for answer in answers():
            response = MutateRowsResponse.FromString(answer)
            response.rate_limit_info.factor = self.target / self.load(self.period)
            response.rate_limit_info.period.FromMilliseconds(int(self.period * 1000))
            yield response.SerializeToString()

    def load(self, seconds):
        """Rows per second that came during the last seconds."""
        now = time.monotonic()
        with self._lock:
            return sum(rows for arrival, rows in self.arrivals if arrival > now - seconds) / seconds or 1.0


def test_the_job_writes_as_fast_as_bigtable_asks_it_to(export_large, through):
    overseer = Overseer(target=15_000)
    through("BIGTABLE_EMULATOR_HOST", MutateRows=overseer)
    assert export_large(FEWER)["cumulativeThrottlingSeconds"] >= 1
    assert overseer.flags == {FEATURES[1]}
    second_half = overseer.arrivals[len(overseer.arrivals) // 2 :]
    rows = sum(rows for _, rows in second_half[1:])
    assert rows / (second_half[-1][0] - second_half[0][0]) < 1.5 * overseer.target


def test_the_cap_holds_without_a_limit_by_bigtable(export_large):
    assert export_large(FEWER, max_rows_per_second=12_000)["cumulativeThrottlingSeconds"] >= 1


def test_a_running_export_stops_soon_after_its_version_is_aborted(export_large, registry, through):
    # It stops even within a record batch: at this rate, the batch takes over 20 seconds.
    requests = []

    def abort(context, request, answers):
        requests.append(request)
        if len(requests) == 3:
            family = MutateRowsRequest.FromString(request).entries[0].mutations[0].set_cell.family_name
            registry.update(family, lambda state: state.abort(state.latest, None, reason="a test", now=1))
        yield from answers()

    through("BIGTABLE_EMULATOR_HOST", MutateRows=abort)
    with pytest.raises(Exception, match="is aborted; begin its export first"):
        export_large(ROWS, max_rows_per_second=3_000)
    assert sum(len(MutateRowsRequest.FromString(request).entries) for request in requests) < 40_000


def test_responses_without_rows_are_ignored(export_large, through):
    def with_empty_responses(context, request, answers):
        for answer in answers():
            yield b""
            yield answer
            yield b""

    through("BIGQUERY_STORAGE_EMULATOR_HOST", ReadRows=with_empty_responses)
    assert export_large(FEWER)["rows_read"] == FEWER


def test_a_bundle_ends_after_a_minute_and_the_rest_of_its_stream_becomes_another(export_large, monkeypatch, through):
    # A retry of the second bundle would not write the rows of the first again.
    monkeypatch.setattr(bigquery_source, "SECONDS_PER_BUNDLE", 0)
    offsets, leases = [], []

    def note(context, request, answers):
        offsets.append(ReadRowsRequest.deserialize(request).offset)
        yield from answers()

    start_bundle = WritePredictions.start_bundle
    monkeypatch.setattr(WritePredictions, "start_bundle", lambda self: leases.append(self) or start_bundle(self))
    through("BIGQUERY_STORAGE_EMULATOR_HOST", ReadRows=note)
    assert export_large(ROWS)["rows_read"] == ROWS
    assert offsets == [0, 65_536]
    assert len(leases) == 2
