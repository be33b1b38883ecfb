"""The export by Beam's own connectors: the reference that ours is compared with.

They write the same cells and count them alike, at a fraction of the speed, and without what `--connectors` says.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.bigquery import ReadFromBigQuery
from apache_beam.io.gcp.bigtableio import WriteToBigTable
from apache_beam.pvalue import AsIter, PCollection, TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue
from google.cloud.bigtable.row import DirectRow

from beam_jobs.receipts import AddReceipts
from beam_jobs.registered_version import RegisteredVersion
from prediction_store.layout import COLUMN, TOMBSTONE, RowKeyFormat, row_key
from prediction_store.lifecycle import Receipt, now_ms

_RECEIPTS = "receipts"
_LOOK_SECONDS = 10.0
_LEASE = 900_000  # milliseconds: the connector goes on trying for ten minutes, and cannot be told to stop


class ExportByStockConnectors(beam.PTransform):
    """Reads with `ReadFromBigQuery`, writes with `WriteToBigTable`; yields one receipt once all cells are written."""

    def __init__(self, source_table: str, table: str, version: RegisteredVersion, row_keys: RowKeyFormat) -> None:
        """Export `source_table`, given as PROJECT.DATASET.TABLE, as `version` to a `table` of its instance."""
        super().__init__()
        self._source_table = source_table
        self._table = table
        self._version = version
        self._row_keys: RowKeyFormat = row_keys

    def expand(self, pipeline: beam.Pipeline) -> PCollection:
        """Apply the transform to the root of a pipeline."""
        instance = self._version.instance
        project, dataset, name = self._source_table.rsplit(".", 2)
        outputs = (
            pipeline
            | "Read table"
            >> ReadFromBigQuery(
                method=ReadFromBigQuery.Method.DIRECT_READ,
                table=f"{project}:{dataset}.{name}",
                selected_fields=["entity_id", "payload"],
            )
            | "Make rows" >> beam.ParDo(_MakeRows(self._version, self._row_keys)).with_outputs(_RECEIPTS, main="rows")
        )
        nothing = outputs.rows | "Write rows" >> WriteToBigTable(instance.project, instance.instance, self._table)
        added = outputs[_RECEIPTS] | "Add up bundles" >> beam.CombineGlobally(AddReceipts())
        # The connector says nothing of what it wrote; but its output, empty as it is, is complete only when it is done.
        written: PCollection = added | "Await writes" >> beam.Map(lambda receipt, _: receipt, AsIter(nothing))
        return written


class _MakeRows(beam.DoFn):
    """Makes a `DirectRow` of each change; of each bundle, a receipt of what is in its rows.

    Now and then it looks whether the export is still wanted, like `WritePredictions`.
    """

    def __init__(self, version: RegisteredVersion, row_keys: RowKeyFormat) -> None:
        self._version = version
        self._row_keys: RowKeyFormat = row_keys

    def start_bundle(self) -> None:
        self._timestamp = _time(self._version.version)
        self._predictions = self._tombstones = 0
        self._look()

    def process(self, change: dict[str, Any]) -> Iterator[DirectRow]:
        if time.monotonic() - self._looked >= _LOOK_SECONDS:
            self._look()
        payload = change["payload"]
        if payload is None:
            value = TOMBSTONE
            self._tombstones += 1
        elif payload:
            value = payload.encode()
            self._predictions += 1
        else:
            model = self._version.model
            raise ValueError(f"{model}: a payload is empty; it must be JSON, or NULL where there is no prediction")
        row = DirectRow(row_key(change["entity_id"] or "", self._row_keys))
        row.set_cell(self._version.model, COLUMN, value, self._timestamp)
        yield row

    def finish_bundle(self) -> Iterator[TaggedOutput]:
        window = GlobalWindow()
        receipt = Receipt(self._predictions, self._tombstones)
        yield TaggedOutput(_RECEIPTS, WindowedValue(receipt, window.max_timestamp(), (window,)))

    def _look(self) -> None:
        now = now_ms()
        self._version.update(lambda state: state.renew_write_lease(self._version.version, now, _LEASE))
        self._looked = time.monotonic()


def _time(version: int) -> datetime:
    """The time of a version's cells, as the connector takes it: never rounded, as floats would be."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=version)
