"""Writing to Bigtable in a pipeline: the base of all steps that write, and the step that writes predictions."""

import logging
import math
import time
from collections.abc import Callable, Iterator

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.utils.shared import Shared

from beam_jobs.bulk_writer import CHANNEL_OPTIONS, BulkWriter, Target
from beam_jobs.flow_control import FlowControl
from beam_jobs.mutations import encode_row_keys, prediction_entries
from beam_jobs.registered_version import RegisteredVersion, WriteLease
from prediction_store.connection import channel
from prediction_store.layout import RowKeyFormat
from prediction_store.lifecycle import Receipt

_PROGRESS_SECONDS = 10.0

_log = logging.getLogger(__name__)


class BigtableDoFn(beam.DoFn):
    """Base of the steps that write to Bigtable: connection, flow control, counters, progress messages."""

    def __init__(self, target: Target, namespace: str) -> None:
        """Write to `target`, with counters in `namespace`."""
        self._target = target
        self._shared_flow_control = Shared()
        self._bytes = Metrics.counter(namespace, "bytes")
        self._retries = Metrics.counter(namespace, "retries")
        # Dataflow knows this name: it does not add workers to make up for the waiting.
        self._throttled = Metrics.counter(namespace, "cumulativeThrottlingSeconds")
        self._fraction = 0.0  # of a second that was waited, but not counted yet

    def setup(self) -> None:
        """Connect to Bigtable, once per worker thread."""
        self._channel: grpc.Channel = channel(CHANNEL_OPTIONS)
        self._flow_control = self._shared_flow_control.acquire(lambda: FlowControl(self._target.max_rows_per_second))
        self._logged = time.monotonic()

    def teardown(self) -> None:
        """Disconnect."""
        self._channel.close()

    def new_writer(self, seconds_allowed: Callable[[], float] = lambda: math.inf) -> BulkWriter:
        """A writer to the target. See `BulkWriter` for `seconds_allowed`."""
        return BulkWriter(self._channel, self._target, self._flow_control, seconds_allowed)

    def count(self, writer: BulkWriter) -> None:
        """Add a writer's work since the last call to the counters."""
        tally = writer.take_tally()
        self._bytes.inc(tally.bytes)
        self._retries.inc(tally.retries)
        seconds, self._fraction = divmod(self._fraction + tally.throttled_seconds, 1)
        self._throttled.inc(int(seconds))

    def log_progress(self, message: str, *values: object) -> None:
        """Log a message, at most once in ten seconds."""
        if time.monotonic() - self._logged >= _PROGRESS_SECONDS:
            _log.info(message, *values)
            self._logged = time.monotonic()


class WritePredictions(BigtableDoFn):
    """Writes batches of `entity_id` and `payload` as cells of a version; yields a receipt for each batch.

    A bundle ends when all its cells are written, so bundles that failed and were retried are counted once. Each
    request needs a write lease, which is renewed when a third of it has passed. A job whose refresh was aborted stops
    with its lease, and the next purge knows when that is.
    """

    def __init__(self, target: Target, version: RegisteredVersion, row_keys: RowKeyFormat) -> None:
        """Write `version` to `target`."""
        super().__init__(target, "export")
        self._version = version
        self._row_keys: RowKeyFormat = row_keys
        self._shared_lease = Shared()
        self._predictions = Metrics.counter("export", "predictions")
        self._tombstones = Metrics.counter("export", "tombstones")

    def setup(self) -> None:
        """Connect to Bigtable, once per worker thread."""
        super().setup()
        self._lease = self._shared_lease.acquire(lambda: WriteLease(self._version, self._target.deadline_seconds))
        self._rows = 0

    def start_bundle(self) -> None:
        """Start with an empty writer. The retry of a failed bundle sends all its cells again.

        Raises:
            RegistryError: the registry does not expect this export any more.
            TimeoutError: the registry did not answer within the target's deadline.
        """
        self._lease.seconds_left()
        self._writer = self.new_writer(self._lease.seconds_left)

    def process(self, batch: pa.RecordBatch) -> Iterator[Receipt]:
        """Write one record batch."""
        keys = encode_row_keys(batch.column("entity_id"), self._row_keys)
        payloads = batch.column("payload")
        self._writer.add(prediction_entries(keys, payloads, self._version.model, self._version.version))
        receipt = Receipt(len(payloads) - payloads.null_count, payloads.null_count)
        self._predictions.inc(receipt.predictions)
        self._tombstones.inc(receipt.tombstones)
        self.count(self._writer)
        self._rows += batch.num_rows
        self.log_progress("version %d: %d rows written by this worker thread", self._version.version, self._rows)
        yield receipt

    def finish_bundle(self) -> None:
        """Wait until every cell of the bundle is written."""
        self._writer.flush()
        self.count(self._writer)
