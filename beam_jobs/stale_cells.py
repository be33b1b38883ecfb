"""Finding and deleting the cells that aborted exports and rollbacks leave above a model's active version."""

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
from beam_jobs.mutations import purge_entries
from beam_jobs.write_metrics import WriteMetrics
from prediction_store.connection import channel, routing_metadata
from prediction_store.protos import ReadRowsRequest, SampleRowKeysRequest, read_rows, sample_row_keys
from prediction_store.reads import RowAssembler, stale_filter

_PROGRESS_SECONDS = 10.0

_log = logging.getLogger(__name__)

KeyRange = tuple[bytes, bytes]
"""First row key, and the row key at which to stop (not included; empty: the table's end)."""


class SplitTable(beam.DoFn):
    """Yields the key ranges of a table's tablets."""

    def __init__(self, app_profile: str) -> None:
        """Call with `app_profile`."""
        self._app_profile = app_profile

    def process(self, table: str) -> Iterator[KeyRange]:
        """Split `table` (its full name)."""
        with channel() as opened:
            samples = sample_row_keys(opened)(
                SampleRowKeysRequest(table_name=table, app_profile_id=self._app_profile),
                metadata=(routing_metadata(table, self._app_profile),),
            )
            ends = sorted({sample.row_key for sample in samples} - {b""})
        yield from zip([b"", *ends], [*ends, b""], strict=True)


class DeleteStaleCells(beam.DoFn):
    """Deletes the stale cells in a key range; yields the number of rows that had some."""

    def __init__(self, target: Target, model: str, active: int, version: int) -> None:
        """Purge `target` of the cells of `model` above version `active` and below `version`."""
        self._target = target
        self._model = model
        self._active = active
        self._version = version
        self._shared_flow_control = Shared()
        self._rows = Metrics.counter("purge", "rows")
        self._writes = WriteMetrics("purge")

    def setup(self) -> None:
        """Connect to Bigtable, once per worker thread."""
        self._channel: grpc.Channel = channel(CHANNEL_OPTIONS)
        self._flow_control = self._shared_flow_control.acquire(lambda: FlowControl(self._target.max_rows_per_second))

    def process(self, key_range: KeyRange) -> Iterator[int]:
        """Purge one key range."""
        writer = BulkWriter(self._channel, self._target, self._flow_control)
        rows, reported = 0, time.monotonic()
        for keys in self._stale_keys(key_range):
            writer.add(purge_entries(pa.array(keys, pa.binary()), self._model, self._active, self._version))
            rows += len(keys)
            self._rows.inc(len(keys))
            self._writes.count(writer)
            if time.monotonic() - reported >= _PROGRESS_SECONDS:
                _log.info("%s: stale cells of %d rows deleted in the range from %r", self._model, rows, key_range[0])
                reported = time.monotonic()
        writer.flush()
        self._writes.count(writer)
        yield rows

    def _stale_keys(self, key_range: KeyRange) -> Iterator[list[bytes]]:
        """The keys of the rows that have stale cells. The server strips the values."""
        start, end = key_range
        table, app_profile = self._target.table, self._target.app_profile
        request = ReadRowsRequest(
            table_name=table, app_profile_id=app_profile, filter=stale_filter(self._model, self._active, self._version)
        )
        row_range = request.rows.row_ranges.add(start_key_closed=start)
        if end:
            row_range.end_key_open = end
        assembler = RowAssembler()
        for response in read_rows(self._channel)(request, metadata=(routing_metadata(table, app_profile),)):
            if rows := assembler.feed(response):
                yield [key for key, _ in rows]

    def teardown(self) -> None:
        """Disconnect."""
        self._channel.close()
