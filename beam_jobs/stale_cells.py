"""Finding and deleting the cells that aborted exports and rollbacks leave above a model's active version."""

import logging
import time
from collections.abc import Iterator

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.metrics.metric import Metrics
from apache_beam.utils.shared import Shared
from google.cloud.bigtable.data import BigtableDataClient

from beam_jobs.bulk_writer import CHANNEL_OPTIONS, BulkWriter, Target
from beam_jobs.flow_control import FlowControl
from beam_jobs.mutations import purge_entries
from beam_jobs.write_metrics import WriteMetrics
from prediction_store.connection import channel, read_rows, routing_metadata
from prediction_store.layout import Instance
from prediction_store.messages import ReadRowsRequest, RowAssembler, stale_filter

_PROGRESS_SECONDS = 10.0
_READ_TIMEOUT = 600.0
_RESUME_DELAY = 1.0
_PASSING = (grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)

_log = logging.getLogger(__name__)

KeyRange = tuple[bytes, bytes]
"""First row key, and the row key at which to stop (not included; empty: the table's end)."""


class SplitTable(beam.DoFn):
    """Yields the key ranges of a table's tablets."""

    def __init__(self, instance: Instance, app_profile: str) -> None:
        """Split tables of `instance`."""
        self._instance = instance
        self._app_profile = app_profile

    def process(self, table: str) -> Iterator[KeyRange]:
        """Split a table, given by its id."""
        with (
            BigtableDataClient(project=self._instance.project) as client,
            client.get_table(self._instance.instance, table, app_profile_id=self._app_profile or None) as opened,
        ):
            ends = sorted({row_key for row_key, _ in opened.sample_row_keys()} - {b""})
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
        self._read_rows = read_rows(self._channel)
        self._metadata = (routing_metadata(self._target.table, self._target.app_profile),)
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
        """The keys of the rows that have stale cells. The server strips the values.

        A read that breaks off is resumed behind the last key, as long as there was one within the target's deadline.
        """
        start, end = key_range
        request = ReadRowsRequest(
            table_name=self._target.table,
            app_profile_id=self._target.app_profile,
            filter=stale_filter(self._model, self._active, self._version),
        )
        row_range = request.rows.row_ranges.add(start_key_closed=start)
        if end:
            row_range.end_key_open = end
        advanced = time.monotonic()
        while True:
            assembler = RowAssembler()
            try:
                for response in self._read_rows(request, timeout=_READ_TIMEOUT, metadata=self._metadata):
                    if keys := [key for key, _ in assembler.feed(response)]:
                        row_range.start_key_open = keys[-1]
                        yield keys
                        advanced = time.monotonic()
            except grpc.RpcError as error:
                if error.code() not in _PASSING or time.monotonic() - advanced >= self._target.deadline_seconds:
                    raise
                _log.warning("a read broke off, and is resumed: %s %s", error.code().name, error.details())
                time.sleep(_RESUME_DELAY)
            else:
                return

    def teardown(self) -> None:
        """Disconnect."""
        self._channel.close()
