"""Writing record batches of predictions to Bigtable."""

import logging
import time
from collections.abc import Iterator

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.utils.shared import Shared

from beam_jobs.bulk_writer import CHANNEL_OPTIONS, BulkWriter, Target
from beam_jobs.flow_control import FlowControl
from beam_jobs.mutations import encode_row_keys, prediction_entries
from beam_jobs.registered_version import RegisteredVersion, WriteLease
from beam_jobs.write_metrics import WriteMetrics
from prediction_store.connection import channel
from prediction_store.layout import RowKeyFormat
from prediction_store.lifecycle import Receipt

_PROGRESS_SECONDS = 10.0

_log = logging.getLogger(__name__)


class WritePredictions(beam.DoFn):
    """Writes batches of `entity_id` and `payload` as cells of a version; yields what it wrote of each batch.

    A bundle ends when all its cells are written, so the counts of bundles that failed and were retried do not count.
    It writes by a lease that it renews between requests: a job that outlives its refresh stops, and the next purge
    knows when it must have stopped.
    """

    def __init__(self, target: Target, version: RegisteredVersion, row_keys: RowKeyFormat) -> None:
        """Write `version` to `target`."""
        self._target = target
        self._version = version
        self._row_keys: RowKeyFormat = row_keys
        self._shared_flow_control = Shared()
        self._predictions = Metrics.counter("export", "predictions")
        self._tombstones = Metrics.counter("export", "tombstones")
        self._writes = WriteMetrics("export")

    def setup(self) -> None:
        """Connect to Bigtable, once per worker thread."""
        self._channel: grpc.Channel = channel(CHANNEL_OPTIONS)
        self._flow_control = self._shared_flow_control.acquire(lambda: FlowControl(self._target.max_rows_per_second))
        self._rows = 0
        self._reported = time.monotonic()

    def start_bundle(self) -> None:
        """Start with an empty writer: what a failed bundle left is sent again by its retry.

        Raises:
            RegistryError: the registry does not expect this export any more.
        """
        lease = WriteLease(self._version)
        lease.seconds_left()
        self._writer = BulkWriter(self._channel, self._target, self._flow_control, lease.seconds_left)

    def process(self, batch: pa.RecordBatch) -> Iterator[Receipt]:
        """Write one record batch."""
        keys = encode_row_keys(batch.column("entity_id"), self._row_keys)
        payloads = batch.column("payload")
        self._writer.add(prediction_entries(keys, payloads, self._version.model, self._version.version))
        receipt = Receipt(len(payloads) - payloads.null_count, payloads.null_count)
        self._predictions.inc(receipt.predictions)
        self._tombstones.inc(receipt.tombstones)
        self._writes.count(self._writer)
        self._report_progress(batch.num_rows)
        yield receipt

    def finish_bundle(self) -> None:
        """Wait for every write of the bundle."""
        self._writer.flush()
        self._writes.count(self._writer)

    def teardown(self) -> None:
        """Disconnect."""
        self._channel.close()

    def _report_progress(self, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._reported >= _PROGRESS_SECONDS:
            _log.info("version %d: %d rows written by this worker", self._version.version, self._rows)
            self._reported = time.monotonic()
