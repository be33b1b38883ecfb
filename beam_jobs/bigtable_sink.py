"""Writing record batches of predictions to Bigtable."""

import logging
import time
from collections.abc import Iterator

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.metrics.metric import Metrics

from beam_jobs.bulk_writer import BulkWriter, Target
from beam_jobs.registered_version import RegisteredVersion
from prediction_store.connection import channel
from prediction_store.layout import TOMBSTONE, RowKeyFormat, row_key
from prediction_store.lifecycle import Receipt
from prediction_store.writes import prediction_entry

_PROGRESS_SECONDS = 10.0

_log = logging.getLogger(__name__)


class WritePredictions(beam.DoFn):
    """Writes batches of `entity_id` and `payload` as cells of a version; yields what it wrote of each batch.

    A bundle ends when all its cells are written, so the counts of bundles that failed and were retried do not count.
    Now and then it looks whether the export is still wanted: a job that outlives its refresh must not go on writing.
    """

    def __init__(self, target: Target, version: RegisteredVersion, row_keys: RowKeyFormat) -> None:
        """Write `version` to `target`."""
        self._target = target
        self._version = version
        self._row_keys: RowKeyFormat = row_keys
        self._predictions = Metrics.counter("export", "predictions")
        self._tombstones = Metrics.counter("export", "tombstones")
        self._retries = Metrics.counter("export", "retries")

    def setup(self) -> None:
        """Connect to Bigtable, once per worker thread."""
        self._channel: grpc.Channel = channel()
        self._rows = 0
        self._reported = time.monotonic()

    def start_bundle(self) -> None:
        """Start with an empty writer: what a failed bundle left is sent again by its retry.

        Raises:
            RegistryError: the registry does not expect this export any more.
        """
        self._require_wanted()
        self._writer = BulkWriter(self._channel, self._target)

    def process(self, batch: pa.RecordBatch) -> Iterator[Receipt]:
        """Write one record batch."""
        entry, cell = prediction_entry(self._version.model, self._version.version)
        tombstones = 0
        entity_ids, payloads = (batch.column(name).to_pylist() for name in ("entity_id", "payload"))
        for entity_id, payload in zip(entity_ids, payloads, strict=True):
            entry.row_key = row_key(entity_id, self._row_keys)
            if payload is None:
                cell.value = TOMBSTONE
                tombstones += 1
            else:
                cell.value = payload.encode()
            self._writer.add(entry)
        self._report_progress(batch.num_rows)
        self._tombstones.inc(tombstones)
        self._predictions.inc(batch.num_rows - tombstones)
        yield Receipt(batch.num_rows - tombstones, tombstones)

    def finish_bundle(self) -> None:
        """Wait for every write of the bundle."""
        self._writer.flush()
        self._retries.inc(self._writer.retries)

    def teardown(self) -> None:
        """Disconnect."""
        self._channel.close()

    def _report_progress(self, rows: int) -> None:
        self._rows += rows
        if time.monotonic() - self._reported >= _PROGRESS_SECONDS:
            self._require_wanted()
            _log.info("version %d: %d rows written by this worker", self._version.version, self._rows)
            self._reported = time.monotonic()

    def _require_wanted(self) -> None:
        self._version.state().require_exporting(self._version.version)
