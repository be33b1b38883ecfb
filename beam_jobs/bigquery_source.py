"""The step that reads a BigQuery table as Arrow record batches, by the Storage Read API."""

import os
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.coders import Coder
from apache_beam.coders.typecoders import registry
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection
from google.cloud.bigquery_storage import ArrowSerializationOptions, BigQueryReadClient, DataFormat, ReadSession
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

Stream = tuple[str, bytes]
"""The name of a read stream, and the serialized Arrow schema of its batches."""


class ReadTable(beam.PTransform):
    """Reads columns of a table: opens a read session, and reads its streams in parallel."""

    def __init__(self, table: str, columns: list[str]) -> None:
        """Read `columns` of `table`, given as PROJECT.DATASET.TABLE."""
        super().__init__()
        self._table = table
        self._columns = columns

    def expand(self, pipeline: beam.Pipeline) -> PCollection:
        """Apply the transform to the root of a pipeline."""
        batches: PCollection = (
            pipeline
            | "Table" >> beam.Create([self._table])
            | "Open read session" >> beam.ParDo(_OpenSession(self._columns))
            | "Spread streams" >> beam.Reshuffle()  # also keeps the session when a later step is retried
            | "Read streams" >> beam.ParDo(_ReadStream())
        )
        return batches


def _client() -> BigQueryReadClient:
    """A client of the Storage Read API, or of the emulator at `BIGQUERY_STORAGE_EMULATOR_HOST`."""
    if host := os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST"):
        channel = grpc.insecure_channel(host, options=[("grpc.max_receive_message_length", -1)])  # as Google's client
        return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
    return BigQueryReadClient()


class _RecordBatchCoder(Coder):
    """Encodes record batches as Arrow streams. Beam asks for the size of some elements, and would pickle them else."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as writer:
            writer.write_batch(value)
        encoded: bytes = sink.getvalue().to_pybytes()
        return encoded

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        return pa.ipc.open_stream(encoded).read_next_batch()

    def estimate_size(self, value: pa.RecordBatch) -> int:
        size: int = value.nbytes
        return size

    def is_deterministic(self) -> bool:
        return False

    def to_type_hint(self) -> Any:
        return pa.RecordBatch


registry.register_coder(pa.RecordBatch, _RecordBatchCoder)


class _OpenSession(beam.DoFn):
    def __init__(self, columns: list[str]) -> None:
        self._columns = columns

    def process(self, table: str) -> Iterator[Stream]:
        project, dataset, name = table.rsplit(".", 2)  # a project may have dots: DOMAIN:PROJECT
        options = ReadSession.TableReadOptions(
            selected_fields=self._columns,
            arrow_serialization_options=ArrowSerializationOptions(
                buffer_compression=ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
            ),
        )
        session = _client().create_read_session(
            parent=f"projects/{project}",
            read_session=ReadSession(
                table=f"projects/{project}/datasets/{dataset}/tables/{name}",
                data_format=DataFormat.ARROW,
                read_options=options,
            ),
        )
        for stream in session.streams:
            yield stream.name, session.arrow_schema.serialized_schema


class _ReadStream(beam.DoFn):
    def __init__(self) -> None:
        self._rows = Metrics.counter("export", "rows_read")

    def setup(self) -> None:
        self._client = _client()

    def process(self, stream: Stream) -> Iterator[pa.RecordBatch]:
        name, serialized_schema = stream
        schema = pa.ipc.read_schema(pa.py_buffer(serialized_schema))
        for response in self._client.read_rows(name):  # resumes at its offset after a lost connection
            self._rows.inc(response.row_count)
            yield pa.ipc.read_record_batch(pa.py_buffer(response.arrow_record_batch.serialized_record_batch), schema)
