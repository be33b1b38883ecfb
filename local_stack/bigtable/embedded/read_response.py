"""Cuts rows into the messages of a ReadRows stream.

As production does, and cbtemulator does not: several rows in one message, the row key, family and qualifier only
where they change, and the value of a large cell in several chunks.
"""

from collections.abc import Iterator
from typing import Any

from google.cloud.bigtable_v2.types import bigtable

from local_stack.bigtable.embedded.cells import Cell

ReadRowsResponse = bigtable.ReadRowsResponse.pb()

MESSAGE_BYTES = 256 * 1024  # a message is sent once it holds this much
CHUNK_VALUE_BYTES = 1024 * 1024  # the most of one value in a chunk
_CHUNK_OVERHEAD_BYTES = 32  # a guess at tags, lengths and timestamp


class ReadResponseWriter:
    """Collects rows and hands out messages as they fill up."""

    def __init__(self) -> None:
        self._message = ReadRowsResponse()
        self._bytes = 0

    def add(self, key: bytes, cells: list[Cell]) -> Iterator[Any]:
        """Adds a row of at least one cell; yields the messages that are full."""
        family, qualifier = None, None
        for index, cell in enumerate(cells):
            chunk = self._message.chunks.add(timestamp_micros=cell.timestamp)
            if index == 0:
                chunk.row_key = key
            if cell.family != family or cell.qualifier != qualifier:
                if cell.family != family:
                    chunk.family_name.value = family = cell.family
                chunk.qualifier.value = qualifier = cell.qualifier
            for start in range(0, len(cell.value) - CHUNK_VALUE_BYTES, CHUNK_VALUE_BYTES):
                chunk.value = cell.value[start : start + CHUNK_VALUE_BYTES]
                chunk.value_size = len(cell.value)
                yield self._take()
                chunk = self._message.chunks.add()
            chunk.value = _last_piece(cell.value)
            self._bytes += len(key) + len(cell.qualifier) + len(chunk.value) + _CHUNK_OVERHEAD_BYTES
            if index == len(cells) - 1:
                chunk.commit_row = True
            if self._bytes >= MESSAGE_BYTES:
                yield self._take()

    def rest(self) -> Iterator[Any]:
        """Yields the last message, if it holds anything."""
        if self._message.chunks:
            yield self._take()

    def _take(self) -> Any:
        message, self._message, self._bytes = self._message, ReadRowsResponse(), 0
        return message


def _last_piece(value: bytes) -> bytes:
    if len(value) <= CHUNK_VALUE_BYTES:
        return value
    return value[-(len(value) % CHUNK_VALUE_BYTES or CHUNK_VALUE_BYTES) :]
