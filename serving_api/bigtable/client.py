"""The reads of Bigtable that the service makes, as a protocol with two implementations.

`http2` is our own client, which takes a tenth of the CPU time of Google's. `official` is Google's. The setting
`SERVING_BIGTABLE_CLIENT` chooses one; nothing outside this package knows which one it is.
"""

from collections.abc import Hashable
from typing import Protocol

from prediction_store.messages import Cell, Row
from serving_api.bigtable.status import CallError


class RowRead(Protocol):
    """A read in flight."""

    @property
    def connection(self) -> Hashable | None:
        """The connection that the read uses; None if the client does not tell."""

    @property
    def local_port(self) -> int | None:
        """The local port of the connection; None if the client does not tell."""

    def cancel(self) -> None:
        """Cancel the read. Its receiver is not called any more. Without effect if the read has ended."""


class RowReceiver(Protocol):
    """The receiver of the rows of reads. Its methods must not raise, and are never called by `read_rows` itself."""

    def received(self, read: RowRead, rows: list[Row]) -> None:
        """Take rows of a read, in the order of their keys. Each has the newest cell of one column per family."""

    def ended(self, read: RowRead, error: CallError | None) -> None:
        """Handle the end of a read: complete, or failed with `error`. Called once for each, as the last method."""


class BigtableClient(Protocol):
    """A client of one Bigtable instance. A read is one call: the client does not repeat what failed."""

    @property
    def is_connected(self) -> bool:
        """Return True if a read could be sent now."""

    def read_rows(
        self,
        table: str,
        request: bytes,
        timeout: float,
        receiver: RowReceiver,
        avoid: Hashable | None = None,
        app_profile: str | None = None,
    ) -> RowRead:
        """Start to read the rows of a request.

        Args:
            table: the full name of the table, as in the request.
            request: a serialized ReadRowsRequest.
            timeout: the time in seconds after which Bigtable ends the call. The caller cancels the read by itself.
            receiver: receives the rows.
            avoid: a connection that is used only if there is no other.
            app_profile: the app profile in the request; None for that of the client.

        Raises:
            CallError: no connection is ready.
        """

    async def read_cells(self, table: str, request: bytes, timeout: float) -> list[tuple[bytes, list[Cell]]]:  # noqa: ASYNC109  the time that a call may take
        """Read all cells of the rows of a request.

        Args:
            table: the full name of the table, as in the request.
            request: a serialized ReadRowsRequest.
            timeout: the time in seconds that the read may take.

        Raises:
            CallError: the read failed, or did not end in time.
        """
