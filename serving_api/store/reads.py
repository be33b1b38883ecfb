"""One read of a batch of keys: at most two attempts, of which the second makes up for a slow or a failed first."""

import asyncio
import time
from collections.abc import Callable

from google.protobuf.message import DecodeError

from prediction_store.messages import ReadRowsRequest, ReadRowsResponse, RowAssembler, RowSet
from serving_api.bigtable import CallError, Channel, Connection, Stream
from serving_api.store.batching import Batch
from serving_api.store.hedging import SecondReads


class Reader:
    """Reads rows of a table through a filter."""

    def __init__(self, channel: Channel, table: str, request: bytes, second_reads: SecondReads) -> None:
        """Read through `channel`.

        Args:
            channel: to Bigtable.
            table: the full name of the table.
            request: a ReadRowsRequest without row keys, serialized.
            second_reads: when to read again.
        """
        self.channel = channel
        self.table = table
        self.second_reads = second_reads
        self._request = request

    def request(self, batch: Batch) -> bytes:
        """The request for the keys of a batch, serialized: of protobuf messages, the whole is the parts end to end."""
        keys = ReadRowsRequest(rows=RowSet(row_keys=batch.keys))
        serialized: bytes = keys.SerializeToString()
        return self._request + serialized


class BatchRead:
    """A read under way."""

    def __init__(self, reader: Reader, batch: Batch, when_ended: Callable[[Exception | None], None]) -> None:
        """Start it. `when_ended` is called later, once every row has been handed to the batch or none will come."""
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._batch = batch
        self._when_ended = when_ended
        self._started = time.perf_counter()
        self._attempts: list[_Attempt] = []
        self._first: _Attempt | None = None
        self.connection: Connection | None = None
        """What the answer came on."""
        self._timer: asyncio.Handle | None = None
        self._may_repeat = True
        reader.second_reads.note_read()
        try:
            self._attempt()
        except CallError as error:
            self._timer = self._loop.call_soon(when_ended, error)
            return
        if (delay := reader.second_reads.delay_seconds) is not None:
            self._timer = self._loop.call_later(delay, self._repeat)

    @property
    def is_hedged(self) -> bool:
        """Whether it was made a second time."""
        return not self._may_repeat

    def cancel(self) -> None:
        """Give it up."""
        if self._timer:
            self._timer.cancel()
        for attempt in self._attempts:
            attempt.cancel()
        self._attempts.clear()

    def _attempt(self, avoid: Connection | None = None) -> None:
        """Ask Bigtable for the rows that have not come.

        Raises:
            CallError: that is not possible.
        """
        timeout = self._batch.deadline - self._loop.time()
        attempt = _Attempt(self)
        reader = self._reader
        attempt.stream = reader.channel.read_rows(reader.table, reader.request(self._batch), timeout, attempt, avoid)
        self._attempts.append(attempt)
        self._first = self._first or attempt

    def _repeat(self) -> bool:
        """Try a second time, if there was none and there is the budget for it; whether it was."""
        if not self._may_repeat or not len(self._batch) or not self._reader.second_reads.take():
            return False
        self._may_repeat = False
        try:
            self._attempt(avoid=self._attempts[0].stream.connection if self._attempts else None)
        except CallError:
            return False
        return True

    def received(self, attempt: "_Attempt", messages: bytes) -> None:
        """Take rows; the read has ended with the last one."""
        arrived = self._batch.arrived
        for key, cells in attempt.assembler.feed(ReadRowsResponse.FromString(messages)):
            arrived(key, cells)
        if len(self._attempts) > 1 and not len(self._batch):
            self._answered(attempt)
            self._end(None)

    def ended(self, attempt: "_Attempt", error: CallError | None) -> None:
        """Take note of the end of an attempt."""
        self._attempts.remove(attempt)
        if error is None:
            self._reader.second_reads.note_seconds(time.perf_counter() - self._started)
            self._answered(attempt)
        elif self._attempts or (error.is_passing and self._repeat()):
            return  # the other attempt may do better
        self._end(error)

    def _answered(self, attempt: "_Attempt") -> None:
        """Take note of which attempt gave the answer."""
        self.connection = attempt.stream.connection
        if attempt is not self._first:
            self._reader.second_reads.note_won()

    def _end(self, error: Exception | None) -> None:
        self.cancel()
        self._when_ended(error)


class _Attempt:
    """A call of ReadRows, which is told from the other one of its read."""

    __slots__ = ("_read", "assembler", "stream")

    stream: Stream

    def __init__(self, read: BatchRead) -> None:
        self._read = read
        self.assembler = RowAssembler()

    def received(self, messages: bytes) -> None:
        try:
            self._read.received(self, messages)
        except DecodeError as error:
            self.cancel()
            self.ended(CallError("INTERNAL", f"not an answer to ReadRows: {error}"))

    def ended(self, error: CallError | None) -> None:
        self._read.ended(self, error)

    def cancel(self) -> None:
        self.stream.cancel()
