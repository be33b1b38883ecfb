"""The steps of the purge: find the rows that may have stale cells, and delete these cells.

The rows come from the changes tables of the stale versions, or else from a scan of the whole Bigtable table.
"""

import logging
import time
from collections.abc import Iterator

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.metrics.metric import Metrics

from beam_jobs.bigtable_sink import BigtableDoFn
from beam_jobs.bulk_writer import CHANNEL_OPTIONS, Target
from beam_jobs.mutations import encode_row_keys, purge_entries
from prediction_store.connection import (
    FEATURES,
    channel,
    is_transient,
    read_rows,
    requested_delay,
    routing_metadata,
    sample_row_keys,
)
from prediction_store.layout import Instance, RowKeyFormat
from prediction_store.messages import ReadRowsRequest, RowAssembler, SampleRowKeysRequest, stale_filter

_READ_TIMEOUT = 600.0  # seconds
_SAMPLE_TIMEOUT = 60.0
_RESUME_DELAY = 1.0

_log = logging.getLogger(__name__)

KeyRange = tuple[bytes, bytes]
"""The first row key, and the row key before which the range ends; empty for the end of the table."""


class SplitTable(beam.DoFn):
    """Yields the key ranges of a table's tablets, which can be purged in parallel."""

    def __init__(self, instance: Instance, app_profile: str) -> None:
        """Split tables of `instance`."""
        self._instance = instance
        self._app_profile = app_profile

    def process(self, table: str) -> Iterator[KeyRange]:
        """Split the table with this id."""
        name = self._instance.table(table)
        request = SampleRowKeysRequest(table_name=name, app_profile_id=self._app_profile)
        metadata = (routing_metadata(name, self._app_profile),)
        with channel() as opened:
            samples = sample_row_keys(opened)(request, timeout=_SAMPLE_TIMEOUT, metadata=metadata)
            ends = sorted({sample.row_key for sample in samples} - {b""})
        yield from zip([b"", *ends], [*ends, b""], strict=True)


class RowKeys(beam.DoFn):
    """Turns batches of the column `entity_id` into batches of the column `row_key`."""

    def __init__(self, row_keys: RowKeyFormat) -> None:
        """Make row keys in the format `row_keys`."""
        self._row_keys: RowKeyFormat = row_keys

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Turn one batch."""
        yield key_batch(encode_row_keys(batch.column("entity_id"), self._row_keys))


class FindStaleRows(beam.DoFn):
    """Yields the row keys of a key range whose rows have stale cells, in batches of the column `row_key`."""

    def __init__(self, target: Target, model: str, active: int, version: int) -> None:
        """Find the cells of `model` in `target` above version `active` and below `version`."""
        self._target = target
        self._stale = (model, active, version)

    def setup(self) -> None:
        """Connect to Bigtable, once per worker thread."""
        self._channel: grpc.Channel = channel(CHANNEL_OPTIONS)
        self._read_rows = read_rows(self._channel)
        self._metadata = (routing_metadata(self._target.table, self._target.app_profile), FEATURES)

    def teardown(self) -> None:
        """Disconnect."""
        self._channel.close()

    def process(self, key_range: KeyRange) -> Iterator[pa.RecordBatch]:
        """Yield the keys of the rows in one key range that have stale cells. The server strips the values.

        A read that fails with a transient error is resumed after the last key that the server returned or scanned. It
        fails if the server named no key within the target's deadline.
        """
        start, end = key_range
        request = ReadRowsRequest(
            table_name=self._target.table,
            app_profile_id=self._target.app_profile,
            filter=stale_filter(*self._stale),
        )
        row_range = request.rows.row_ranges.add(start_key_closed=start)
        if end:
            row_range.end_key_open = end
        advanced = time.monotonic()
        while True:
            assembler = RowAssembler()
            try:
                for response in self._read_rows(request, timeout=_READ_TIMEOUT, metadata=self._metadata):
                    keys = [key for key, _ in assembler.feed(response)]
                    if keys:
                        yield key_batch(pa.array(keys, pa.binary()))
                    if last := response.last_scanned_row_key or (keys and keys[-1]):
                        row_range.start_key_open = last
                        advanced = time.monotonic()
                assembler.finish()
            except grpc.RpcError as error:
                code, details, delay = error.code(), error.details() or "", requested_delay(error)
                may_succeed = delay is not None or is_transient(code.value[0], details)
                if not may_succeed or time.monotonic() - advanced >= self._target.deadline_seconds:
                    raise
                _log.warning("a read failed and is resumed: %s %s", code.name, details)
                time.sleep(_RESUME_DELAY if delay is None else delay)
            else:
                return


class DeleteStaleCells(BigtableDoFn):
    """Deletes the stale cells of rows; yields the number of rows of each batch.

    A row without such cells stays as it is. A bundle ends when its deletions are done.
    """

    def __init__(self, target: Target, model: str, active: int, version: int) -> None:
        """Delete the cells of `model` in `target` above version `active` and below `version`."""
        super().__init__(target, "purge")
        self._model = model
        self._active = active
        self._version = version
        self._rows = Metrics.counter("purge", "rows")

    def setup(self) -> None:
        """Connect to Bigtable, once per worker thread."""
        super().setup()
        self._deleted = 0

    def start_bundle(self) -> None:
        """Start with an empty writer."""
        self._writer = self.new_writer()

    def process(self, batch: pa.RecordBatch) -> Iterator[int]:
        """Purge the rows of one batch of the column `row_key`."""
        self._writer.add(purge_entries(batch.column("row_key"), self._model, self._active, self._version))
        self._deleted += batch.num_rows
        self._rows.inc(batch.num_rows)
        self.count(self._writer)
        self.log_progress("%s: %d rows purged by this worker thread", self._model, self._deleted)
        yield batch.num_rows

    def finish_bundle(self) -> None:
        """Wait until every deletion of the bundle is done."""
        self._writer.flush()
        self.count(self._writer)


def key_batch(keys: pa.Array) -> pa.RecordBatch:
    """A batch of the column `row_key`."""
    return pa.record_batch({"row_key": keys})
