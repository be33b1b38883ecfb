"""The step that reads BigQuery tables as Arrow record batches, by the Storage Read API."""

import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import grpc
import pyarrow as pa
from apache_beam.coders import Coder
from apache_beam.coders.typecoders import registry
from apache_beam.io.restriction_trackers import OffsetRange, OffsetRestrictionTracker
from apache_beam.metrics.metric import Metrics
from apache_beam.options.pipeline_options import PipelineOptions, WorkerOptions
from apache_beam.pvalue import PBegin, PCollection
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner
from apache_beam.transforms.core import RestrictionProvider
from google.cloud.bigquery_storage import (
    ArrowSerializationOptions,
    BigQueryReadClient,
    CreateReadSessionRequest,
    DataFormat,
    ReadSession,
)
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

SECONDS_PER_BUNDLE = 60.0
"""Time after which a bundle ends, and the rest of its stream becomes another one. A retry repeats no more than that."""

_END = sys.maxsize  # of a stream, whose number of rows is not known

# Twice the threads of a worker with four cores. BigQuery gives a small table one stream otherwise, for one thread.
_STREAMS_PER_WORKER = 32
_FEWEST_STREAMS, _MOST_STREAMS = 10, 1_000  # as Beam's own source asks for; BigQuery's limit

Stream = tuple[str, bytes, int]
"""The name of a read stream, the serialized Arrow schema of its batches, and an estimate of its number of rows."""


class ReadTables(beam.PTransform):
    """Reads columns of tables: opens a read session for each, and reads its streams in parallel."""

    def __init__(self, tables: list[str], columns: list[str], namespace: str) -> None:
        """Read `columns` of `tables`, each given as PROJECT.DATASET.TABLE, with counters in `namespace`."""
        super().__init__()
        self._namespace = namespace
        self._tables = tables
        self._columns = columns

    def expand(self, root: PBegin) -> PCollection:
        """Apply the transform to the root of a pipeline."""
        pipeline = root.pipeline
        streams = _preferred_streams(pipeline.options) if isinstance(pipeline.runner, DataflowRunner) else 0
        batches: PCollection = (
            pipeline
            | "Tables" >> beam.Create(self._tables)
            | "Open read session" >> beam.ParDo(_OpenSession(self._columns, streams))
            | "Spread streams" >> beam.Reshuffle()  # also keeps the session when a later step is retried
            | "Read streams" >> beam.ParDo(_ReadStream(self._namespace))
        )
        return batches


def _preferred_streams(options: PipelineOptions) -> int:
    workers = options.view_as(WorkerOptions)
    most = workers.max_num_workers or workers.num_workers or 1
    return min(max(_STREAMS_PER_WORKER * most, _FEWEST_STREAMS), _MOST_STREAMS)


def _client() -> BigQueryReadClient:
    """A client of the Storage Read API, or of the emulator at `BIGQUERY_STORAGE_EMULATOR_HOST`."""
    if host := os.environ.get("BIGQUERY_STORAGE_EMULATOR_HOST"):
        channel = grpc.insecure_channel(host, options=[("grpc.max_receive_message_length", -1)])  # as Google's client
        return BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
    return BigQueryReadClient()


class _RecordBatchCoder(Coder):
    """Encodes record batches as Arrow streams. Beam asks for the size of some elements. Else it would pickle them."""

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
    def __init__(self, columns: list[str], streams: int) -> None:
        self._columns = columns
        self._streams = streams  # to ask for; 0: BigQuery chooses

    def process(self, table: str) -> Iterator[Stream]:
        project, dataset, name = table.rsplit(".", 2)  # a project may have dots: DOMAIN:PROJECT
        options = ReadSession.TableReadOptions(
            selected_fields=self._columns,
            arrow_serialization_options=ArrowSerializationOptions(
                buffer_compression=ArrowSerializationOptions.CompressionCodec.LZ4_FRAME
            ),
        )
        session = _client().create_read_session(
            CreateReadSessionRequest(
                parent=f"projects/{project}",
                read_session=ReadSession(
                    table=f"projects/{project}/datasets/{dataset}/tables/{name}",
                    data_format=DataFormat.ARROW,
                    read_options=options,
                ),
                preferred_min_stream_count=self._streams,
            )
        )
        for stream in session.streams:
            rows = session.estimated_row_count // len(session.streams)
            yield stream.name, session.arrow_schema.serialized_schema, rows


class _StreamTracker(OffsetRestrictionTracker):
    """Tracks the rows of a stream that were read.

    Only the rest behind them can be split off. An offset further on may be behind the stream's end, which BigQuery does
    not allow, as a session does not tell the number of rows.
    """

    def try_split(self, fraction_of_remainder: float) -> Any:
        return super().try_split(0) if fraction_of_remainder == 0 else None


class _StreamRanges(RestrictionProvider):
    def initial_restriction(self, _element: Stream) -> OffsetRange:
        return OffsetRange(0, _END)

    def create_tracker(self, restriction: OffsetRange) -> _StreamTracker:
        return _StreamTracker(restriction)

    def restriction_size(self, element: Stream, restriction: OffsetRange) -> int:
        size: int = min(restriction.stop, element[2]) - restriction.start
        return max(size, 1)


class _ReadStream(beam.DoFn):
    """Reads a stream from an offset on. After a minute, the rest becomes an element of its own.

    So a bundle's work is written and committed then. Beam calls this a checkpoint that the DoFn initiates; its
    capability matrix lists it for Dataflow's Runner v2, which all Python jobs use, and for the FnApiRunner.
    """

    def __init__(self, namespace: str) -> None:
        self._rows = Metrics.counter(namespace, "rows_read")

    def setup(self) -> None:
        self._client = _client()

    def process(
        self,
        stream: Stream,
        tracker: Any = beam.DoFn.RestrictionParam(_StreamRanges()),  # noqa: B008  how Beam marks it
    ) -> Iterator[pa.RecordBatch]:
        name, serialized_schema, _ = stream
        schema = pa.ipc.read_schema(pa.py_buffer(serialized_schema))
        began = time.monotonic()
        start = offset = tracker.current_restriction().start
        for response in self._client.read_rows(name, offset):  # resumes at its offset after a lost connection
            if not response.row_count:
                continue  # there is no position to claim
            if offset > start and time.monotonic() - began >= SECONDS_PER_BUNDLE:
                tracker.defer_remainder()  # with the rows of this response, so that the rest is never empty
                return
            offset += response.row_count
            if not tracker.try_claim(offset - 1):
                return  # the runner split off the rest
            self._rows.inc(response.row_count)
            yield pa.ipc.read_record_batch(pa.py_buffer(response.arrow_record_batch.serialized_record_batch), schema)
        tracker.try_claim(_END)
