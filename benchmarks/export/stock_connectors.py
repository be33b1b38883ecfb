"""The export by Beam's own connectors: the reference that the export job is compared with.

It writes the same cells and the same receipt. Unlike in the export job, writes use the instance's default app
profile, are tried again for ten minutes, and follow neither Bigtable's rate limit nor `--max_rows_per_second`. A
refused write names neither rows nor reasons.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import apache_beam as beam
import grpc
from apache_beam.io.gcp.bigquery import ReadFromBigQuery
from apache_beam.io.gcp.bigquery_tools import BigQueryWrapper
from apache_beam.io.gcp.bigtableio import WriteToBigTable
from apache_beam.io.gcp.internal.clients.bigquery import BigqueryV2
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import AsIter, TaggedOutput
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue
from google.cloud import bigquery_storage_v1
from google.cloud.bigquery_storage import BigQueryReadClient
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from google.cloud.bigtable.row import DirectRow

from beam_jobs.launch import launch
from beam_jobs.options import BigtableOptions, ExportOptions, parse
from beam_jobs.receipts import AddReceipts, WriteReceipt
from beam_jobs.registered_version import RegisteredVersion
from prediction_store.layout import COLUMN, TOMBSTONE, RowKeyFormat, row_key
from prediction_store.lifecycle import ModelState, Receipt, now_ms

_RECEIPTS = "receipts"
_RENEW_SECONDS = 10.0
_LEASE = 900_000  # milliseconds: the connector tries again for ten minutes, and cannot be stopped


def run(arguments: Sequence[str]) -> None:
    """Export on the emulators, with the options of `beam_jobs.export_predictions`.

    Raises:
        RegistryError: the registry does not expect an export of this version.
        SystemExit: an option is unknown, missing or invalid.
    """
    options = parse(arguments)
    version = options.view_as(BigtableOptions).registered_version()
    pipeline = beam.Pipeline(options=options)
    build(pipeline, options, version, version.state())
    with on_emulators():
        launch(pipeline, "export")


def build(pipeline: beam.Pipeline, options: PipelineOptions, version: RegisteredVersion, state: ModelState) -> None:
    """Add the steps of the export to a pipeline. The arguments are those of `beam_jobs.export_predictions.build`."""
    instance = version.instance
    project, dataset, name = options.view_as(ExportOptions).source_table.rsplit(".", 2)
    outputs = (
        pipeline
        | "Read table"
        >> ReadFromBigQuery(
            method=ReadFromBigQuery.Method.DIRECT_READ,
            table=f"{project}:{dataset}.{name}",
            selected_fields=["entity_id", "payload"],
        )
        | "Make rows" >> beam.ParDo(_MakeRows(version, state.row_keys)).with_outputs(_RECEIPTS, main="rows")
    )
    written = outputs.rows | "Write rows" >> WriteToBigTable(instance.project, instance.instance, state.entity_type)
    (
        outputs[_RECEIPTS]
        | "Add up" >> beam.CombineGlobally(AddReceipts())
        # The connector reports no counts. Its output is empty, and complete when all rows are written.
        | "Await writes" >> beam.Map(lambda receipt, _: receipt, AsIter(written))
        | "Write receipt" >> beam.ParDo(WriteReceipt(version))
    )


@contextmanager
def on_emulators() -> Iterator[None]:
    """Let `ReadFromBigQuery` of this process use the emulators.

    They are at `BIGQUERY_EMULATOR_HOST` and `BIGQUERY_STORAGE_EMULATOR_HOST`. `WriteToBigTable` finds its emulator by
    `BIGTABLE_EMULATOR_HOST` without help.
    """
    with (
        mock.patch.object(bigquery_storage_v1, "BigQueryReadClient", _storage_client),
        mock.patch.object(BigQueryWrapper, "_bigquery_client", staticmethod(_rest_client)),
        # A table that is read leaves nothing to clean up. The emulator ignores the label by which Beam selects its
        # own datasets, so the clean-up would delete all datasets.
        mock.patch.object(BigQueryWrapper, "_clean_up_beam_labelled_temporary_datasets"),
    ):
        yield


class _MakeRows(beam.DoFn):
    """Makes a `DirectRow` of each change, and a receipt of each bundle. Renews the write lease every ten seconds."""

    def __init__(self, version: RegisteredVersion, row_keys: RowKeyFormat) -> None:
        self._version = version
        self._row_keys: RowKeyFormat = row_keys

    def start_bundle(self) -> None:
        # Added to the epoch, because a float would be rounded.
        self._timestamp = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=self._version.version)
        self._predictions = self._tombstones = 0
        self._renew_lease()

    def process(self, change: dict[str, Any]) -> Iterator[DirectRow]:
        if time.monotonic() - self._renewed >= _RENEW_SECONDS:
            self._renew_lease()
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

    def _renew_lease(self) -> None:
        now = now_ms()
        self._version.update(lambda state: state.renew_write_lease(self._version.version, now, _LEASE))
        self._renewed = time.monotonic()


def _storage_client() -> BigQueryReadClient:
    no_limit = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(os.environ["BIGQUERY_STORAGE_EMULATOR_HOST"], no_limit)
    return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))


def _rest_client(_options: Any) -> BigqueryV2:
    return BigqueryV2(url=f"{os.environ['BIGQUERY_EMULATOR_HOST']}/bigquery/v2/", get_credentials=False)
