"""Both implementations of Bigtable, started as users start them, and Google's clients for them."""

import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import grpc
import pytest
from google.cloud.bigtable.data import BigtableDataClient, Mutation, ReadRowsQuery, RowMutationEntry, Table
from google.cloud.bigtable.data.row_filters import RowFilter
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient
from google.cloud.bigtable_admin_v2.services.bigtable_table_admin.transports import BigtableTableAdminGrpcTransport
from google.cloud.bigtable_admin_v2.types import ColumnFamily
from google.cloud.bigtable_v2 import BigtableClient
from google.cloud.bigtable_v2.services.bigtable.transports import BigtableGrpcTransport

from local_stack.bigtable import cbtemulator
from local_stack.servers import BIGTABLE, running

PROJECT, INSTANCE = "local", "stack"


@dataclass(frozen=True)
class Bigtable:
    """A running Bigtable. `data` is the client that users have; `rpc` and `admin` make one call per method."""

    implementation: str
    parent: str
    channel: grpc.Channel
    data: BigtableDataClient
    rpc: BigtableClient
    admin: BigtableTableAdminClient

    def create_table(self, families: dict[str, ColumnFamily]) -> "TableUnderTest":
        table_id = f"t{uuid.uuid4().hex[:12]}"
        self.admin.create_table(
            request={"parent": self.parent, "table_id": table_id, "table": {"column_families": families}}
        )
        return TableUnderTest(self, f"{self.parent}/tables/{table_id}", self.data.get_table(INSTANCE, table_id))


@dataclass(frozen=True)
class TableUnderTest:
    emulator: Bigtable
    name: str
    client: Table

    def write(self, key: bytes | str, *mutations: Mutation) -> None:
        self.client.mutate_row(key, list(mutations))

    def write_all(self, rows: dict[bytes, list[Mutation]]) -> None:
        self.client.bulk_mutate_rows([RowMutationEntry(key, mutations) for key, mutations in rows.items()])

    def read(
        self,
        row_filter: RowFilter | None = None,
        keys: Iterable[bytes] = (),
        limit: int | None = None,
        **query: object,
    ) -> dict[bytes, list[tuple[str, bytes, int, bytes]]]:
        """Return family, qualifier, timestamp and value of each cell, by row, in the order received."""
        request = ReadRowsQuery(row_keys=list(keys), row_filter=row_filter, limit=limit, **query)
        return {
            row.row_key: [(cell.family, cell.qualifier, cell.timestamp_micros, cell.value) for cell in row]
            for row in self.client.read_rows(request)
        }


@contextmanager
def serving(implementation: str, *options: str) -> Iterator[Bigtable]:
    with running(*BIGTABLE, "--implementation", implementation, *options) as line:
        assert line.startswith(f"Bigtable ({implementation}) is serving at 127.0.0.1:")
        with connected(implementation, line.split()[-1]) as emulator:
            yield emulator


@contextmanager
def connected(implementation: str, address: str) -> Iterator[Bigtable]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("BIGTABLE_EMULATOR_HOST", address)
        with pytest.warns(RuntimeWarning, match="Connecting to Bigtable emulator"):
            data = BigtableDataClient(project=PROJECT)
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with data, grpc.insecure_channel(address, options=unlimited) as channel:
        yield Bigtable(
            implementation,
            f"projects/{PROJECT}/instances/{INSTANCE}",
            channel,
            data,
            BigtableClient(transport=BigtableGrpcTransport(channel=channel)),
            BigtableTableAdminClient(transport=BigtableTableAdminGrpcTransport(channel=channel)),
        )


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[[str], Bigtable]]:
    """Return a Bigtable of an implementation. It is started at the first call."""
    started: dict[str, Bigtable] = {}
    with ExitStack() as stack:

        def start(implementation: str) -> Bigtable:
            if implementation == "cbtemulator" and cbtemulator.find(os.environ) is None:
                pytest.skip("cbtemulator is not installed: gcloud components install bigtable")
            if implementation not in started:
                started[implementation] = stack.enter_context(serving(implementation))
            return started[implementation]

        yield start


@pytest.fixture(scope="session", params=["embedded", "cbtemulator"])
def emulator(request: pytest.FixtureRequest, start: Callable[[str], Bigtable]) -> Bigtable:
    return start(request.param)


@pytest.fixture
def table(emulator: Bigtable) -> TableUnderTest:
    """An empty table with families `churn` and `value` without garbage collection."""
    return emulator.create_table({"churn": ColumnFamily(), "value": ColumnFamily()})


@pytest.fixture
def embedded_table(start: Callable[[str], Bigtable]) -> TableUnderTest:
    return start("embedded").create_table({"churn": ColumnFamily(), "value": ColumnFamily()})
