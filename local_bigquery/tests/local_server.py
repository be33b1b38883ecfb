"""A `local-bigquery` process for tests."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pyarrow as pa
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport

COMMAND = Path(sys.executable).with_name("local-bigquery")
ANY_PORTS = ("--port", "0", "--storage-port", "0")

# A query that is still running when its job is polled: the emulator computes FARM_FINGERPRINT in Python, 0.1 ms each.
SLOW = "SELECT MAX(FARM_FINGERPRINT(CAST(x AS STRING))) AS m FROM UNNEST(GENERATE_ARRAY(1, 6000)) AS x"


@dataclass(frozen=True)
class LocalBigQuery:
    """A running `local-bigquery`."""

    process: subprocess.Popen[str]
    rest: str
    storage: str

    def client(self) -> bigquery.Client:
        return bigquery.Client(
            project="demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": self.rest}
        )

    def read(self, table: str, offset: int = 0) -> pa.Table:
        """Read `dataset.table` through the Storage Read API, starting at an offset."""
        dataset, name = table.split(".")
        with grpc.insecure_channel(self.storage) as channel:
            reader = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
            session = reader.create_read_session(
                parent="projects/demo",
                read_session=types.ReadSession(
                    table=f"projects/demo/datasets/{dataset}/tables/{name}", data_format=types.DataFormat.ARROW
                ),
                max_stream_count=1,
            )
            schema = pa.ipc.read_schema(pa.py_buffer(session.arrow_schema.serialized_schema))
            batches = [
                pa.ipc.read_record_batch(pa.py_buffer(message.arrow_record_batch.serialized_record_batch), schema)
                for message in reader.read_rows(session.streams[0].name, offset)
            ]
            return pa.Table.from_batches(batches, schema)


@contextmanager
def running(*arguments: str) -> Iterator[LocalBigQuery]:
    with subprocess.Popen([COMMAND, *ANY_PORTS, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            match = re.fullmatch(r"BigQuery is ready: REST (http://\S+) Storage (\S+) project demo\n", line)
            assert match, f"unexpected first line {line!r}"
            yield LocalBigQuery(process, match[1], match[2])
        finally:
            process.terminate()
            assert process.wait(30) == 0
