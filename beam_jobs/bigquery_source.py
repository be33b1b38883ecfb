"""Reading a BigQuery table as Arrow record batches, through the Storage Read API."""

import os
from collections.abc import Iterable, Iterator

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.pvalue import PCollection
from google.cloud.bigquery_storage import ArrowSerializationOptions, BigQueryReadClient, DataFormat, ReadSession
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

Stream = tuple[str, bytes]
"""A read stream's name and the serialized Arrow schema of its batches."""


class ReadTable(beam.PTransform):
    """Reads columns of a table: one read session, its streams as elements, then their record batches."""

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
            | "Spread streams" >> beam.Reshuffle()  # also keeps the session when what follows is retried
            | "Read streams" >> beam.ParDo(_ReadStream())
        )
        return batches


def _client() -> BigQueryReadClient:
    """A client of the Storage Read API, or of the emulator at `BIGQUERY_STORAGE_EMULATOR_HOST`."""
    if host := os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST"):
        return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=grpc.insecure_channel(host)))
    return BigQueryReadClient()


class _OpenSession(beam.DoFn):
    def __init__(self, columns: list[str]) -> None:
        self._columns = columns

    def process(self, table: str) -> Iterator[Stream]:
        project, dataset, name = table.split(".")
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
    def setup(self) -> None:
        self._client = _client()

    def process(self, stream: Stream) -> Iterable[pa.RecordBatch]:
        name, serialized_schema = stream
        schema = pa.ipc.read_schema(pa.py_buffer(serialized_schema))
        for response in self._client.read_rows(name):  # resumes at its offset when the connection breaks
            yield pa.ipc.read_record_batch(pa.py_buffer(response.arrow_record_batch.serialized_record_batch), schema)
