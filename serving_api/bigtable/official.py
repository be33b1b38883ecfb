"""Google's client as a `BigtableClient`: for whoever does not trust ours, or meets a fault in it.

Google's client assembles the rows, renews its channel and its tokens, and warms the channel by itself. It repeats no
read here, as the service hedges. On Google Cloud it also sends metrics of its own to Cloud Monitoring, the last ones
when it is closed.
"""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from google.api_core.exceptions import GoogleAPICallError
from google.cloud.bigtable.data import BigtableDataClientAsync, ReadRowsQuery, Row, TableAsync, row_filters
from grpc import ChannelConnectivity

from prediction_store.layout import Instance
from prediction_store.messages import Cell, ReadRowsRequest
from serving_api.bigtable.client import RowReceiver
from serving_api.bigtable.status import CallError
from serving_api.supervisor import Supervisor
from serving_api.telemetry.metrics import Metrics

_CONNECTED = (ChannelConnectivity.READY, ChannelConnectivity.IDLE)
_STATE_SECONDS = 1.0
_EPOCH = datetime.fromtimestamp(0, UTC)


class OfficialClient:
    """Reads by `BigtableDataClientAsync`. It has one connection, of which it tells nothing but its state."""

    def __init__(self, client: BigtableDataClientAsync, instance: Instance, app_profile: str) -> None:
        """Read from an instance, by an app profile, the default one if it is empty; see `open`."""
        self._client = client
        self._instance = instance
        self._app_profile = app_profile
        self._tables: dict[tuple[str, str], TableAsync] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, endpoint: str, instance: Instance, app_profile: str, metrics: Metrics) -> AsyncIterator[Self]:
        """Yield a client, which connects when it reads.

        Args:
            endpoint: the host, or host and port, of Bigtable; empty: the global one of the universe in the environment.
            instance: the instance that has the tables.
            app_profile: the app profile of the reads; the default one if it is empty.
            metrics: shows whether it is connected.

        Raises:
            google.auth.exceptions.DefaultCredentialsError: this machine has no default credentials.
            ValueError: the credentials are of another universe.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Connecting to Bigtable emulator", RuntimeWarning)
            options = {"api_endpoint": endpoint} if endpoint else None
            client = BigtableDataClientAsync(project=instance.project, client_options=options)
        official = cls(client, instance, app_profile)
        async with client, Supervisor(metrics) as tasks:

            async def show_state() -> None:
                while True:
                    metrics.connections_ready.set(official.is_connected)
                    await asyncio.sleep(_STATE_SECONDS)

            tasks.start("connection", show_state)
            yield official

    @property
    def is_connected(self) -> bool:
        """Return True unless the connection is being made, or cannot be made."""
        return self._client.transport.grpc_channel.get_state() in _CONNECTED

    def read_rows(
        self,
        table: str,
        request: bytes,
        timeout: float,
        receiver: RowReceiver,
        avoid: Hashable | None = None,  # noqa: ARG002  there is one connection
        app_profile: str | None = None,
    ) -> "_Read":
        """Start to read rows, as in `BigtableClient`. Without a connection, the read fails later."""
        return _Read(self._stream(table, request, timeout, app_profile), receiver)

    async def read_cells(self, table: str, request: bytes, timeout: float) -> list[tuple[bytes, list[Cell]]]:  # noqa: ASYNC109  the time that a call may take
        """Read all cells of rows, as in `BigtableClient`.

        Raises:
            CallError: the read failed, or did not end in time.
        """
        rows: list[tuple[bytes, list[Cell]]] = []
        try:
            async for row in self._stream(table, request, timeout, None):
                cells = [(c.family, c.qualifier, c.timestamp_micros, c.value, tuple(c.labels)) for c in row]
                rows.append((row.row_key, cells))
        except Exception as error:
            raise _call_error(error) from error
        return rows

    async def _stream(self, table: str, request: bytes, seconds: float, app_profile: str | None) -> AsyncIterator[Row]:
        """The rows of a request.

        Raises:
            GoogleAPICallError: the read failed, or did not end in time.
        """
        message = ReadRowsRequest.FromString(request)
        query = ReadRowsQuery(row_keys=list(message.rows.row_keys), row_filter=_row_filter(message.filter))
        seconds = max(seconds, 0.001)
        rows = await self._table(table, self._app_profile if app_profile is None else app_profile).read_rows_stream(
            query, operation_timeout=seconds, attempt_timeout=seconds, retryable_errors=()
        )
        async for row in rows:
            yield row

    def _table(self, name: str, app_profile: str) -> TableAsync:
        """A table by its full name. Google's client warms its channel for the app profiles of its tables."""
        table = self._tables.get((name, app_profile))
        if table is None:
            table_id = name.removeprefix(self._instance.table(""))
            table = self._client.get_table(self._instance.instance, table_id, app_profile_id=app_profile or None)
            self._tables[name, app_profile] = table
        return table


class _Read:
    """A read in flight."""

    connection = None
    local_port = None

    def __init__(self, rows: AsyncIterator[Row], receiver: RowReceiver) -> None:
        self._receiver: RowReceiver | None = receiver
        self._task = asyncio.create_task(self._run(rows))

    def cancel(self) -> None:
        """Cancel the read."""
        self._receiver = None
        self._task.cancel()

    async def _run(self, rows: AsyncIterator[Row]) -> None:
        error: CallError | None = None
        try:
            async for row in rows:
                if self._receiver:
                    self._receiver.received(self, [(row.row_key, {cell.family: cell.value for cell in row})])
        except Exception as failure:  # noqa: BLE001  the client raises errors of several libraries
            error = _call_error(failure)
        receiver, self._receiver = self._receiver, None
        if receiver:
            receiver.ended(self, error)


def _call_error(error: Exception) -> CallError:
    """The error of a read that Google's client raised. Errors without a status, such as invalid rows, are INTERNAL."""
    status = error.grpc_status_code if isinstance(error, GoogleAPICallError) else None
    code = status.name if status else "INTERNAL"
    if code == "UNKNOWN" and "Stream removed" in str(error):
        # gRPC says so when an answer breaks off.
        code = "UNAVAILABLE"
    return CallError.from_status(code, str(error))


_FILTERS: dict[str, Callable[[Any], row_filters.RowFilter]] = {
    "chain": lambda chain: row_filters.RowFilterChain([_row_filter(each) for each in chain.filters]),
    "interleave": lambda union: row_filters.RowFilterUnion([_row_filter(each) for each in union.filters]),
    "family_name_regex_filter": row_filters.FamilyNameRegexFilter,
    "column_qualifier_regex_filter": row_filters.ColumnQualifierRegexFilter,
    "timestamp_range_filter": lambda times: row_filters.TimestampRangeFilter(
        end=_EPOCH + timedelta(microseconds=times.end_timestamp_micros)
    ),
    "cells_per_column_limit_filter": row_filters.CellsColumnLimitFilter,
}
"""Google's class for each kind of filter in the requests of the service. Time ranges have no start."""


def _row_filter(message: Any) -> row_filters.RowFilter:
    """The filter of Google's client that is equal to a message."""
    kind = message.WhichOneof("filter")
    return _FILTERS[kind](getattr(message, kind))
