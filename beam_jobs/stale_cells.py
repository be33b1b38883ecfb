"""The steps of the purge: find stale cells, and delete them."""

import logging
import time
from collections.abc import Iterator

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.metrics.metric import Metrics

from beam_jobs.bigtable_sink import BigtableDoFn
from beam_jobs.bulk_writer import Target
from beam_jobs.mutations import purge_entries
from prediction_store.connection import TRANSIENT, channel, read_rows, routing_metadata, sample_row_keys
from prediction_store.layout import Instance
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


class DeleteStaleCells(BigtableDoFn):
    """Deletes the stale cells in a key range; yields the number of rows that had stale cells."""

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
        self._read_rows = read_rows(self._channel)
        self._metadata = (routing_metadata(self._target.table, self._target.app_profile),)

    def process(self, key_range: KeyRange) -> Iterator[int]:
        """Purge one key range."""
        writer = self.new_writer()
        rows = 0
        for keys in self._stale_keys(key_range):
            writer.add(purge_entries(pa.array(keys, pa.binary()), self._model, self._active, self._version))
            rows += len(keys)
            self._rows.inc(len(keys))
            self.count(writer)
            self.log_progress("%s: stale cells of %d rows deleted, range from %r", self._model, rows, key_range[0])
        writer.flush()
        self.count(writer)
        yield rows

    def _stale_keys(self, key_range: KeyRange) -> Iterator[list[bytes]]:
        """Yield the keys of the rows that have stale cells. The server strips the values.

        A read that fails with a transient error is resumed after the last key. It fails if no key came within the
        target's deadline.
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
                assembler.finish()
            except grpc.RpcError as error:
                if error.code() not in TRANSIENT or time.monotonic() - advanced >= self._target.deadline_seconds:
                    raise
                _log.warning("a read failed and is resumed: %s %s", error.code().name, error.details())
                time.sleep(_RESUME_DELAY)
            else:
                return
