"""The service `google.bigtable.v2.Bigtable`."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from typing import Any

import grpc
from google.cloud.bigtable_v2.types import bigtable

from local_stack.bigtable.embedded.filters import compile_filter, requested_keys
from local_stack.bigtable.embedded.mutations import (
    check_mutation_count,
    check_row_key,
    modified_cells,
    parse_mutations,
)
from local_stack.bigtable.embedded.rpc import InvalidArgumentError, RequestError, stream, unary
from local_stack.bigtable.embedded.storage import Cell, Database, put_cell

SERVICE = "google.bigtable.v2.Bigtable"

_ReadRowsResponse = bigtable.ReadRowsResponse.pb()
_MutateRowResponse = bigtable.MutateRowResponse.pb()
_MutateRowsResponse = bigtable.MutateRowsResponse.pb()
_CheckAndMutateRowResponse = bigtable.CheckAndMutateRowResponse.pb()
_ReadModifyWriteRowResponse = bigtable.ReadModifyWriteRowResponse.pb()
_SampleRowKeysResponse = bigtable.SampleRowKeysResponse.pb()
_PingAndWarmResponse = bigtable.PingAndWarmResponse.pb()

_ROWS_PER_TURN = 250  # rows that are read or written between yields to other requests: about one millisecond
_SAMPLED_SHARE = 0.01  # share of the row keys, as in cbtemulator
_MESSAGE_BYTES = 256 * 1024  # a response message is sent when its cells have this size
_CHUNK_VALUE_BYTES = 1024 * 1024  # the largest part of a value in one chunk
_CHUNK_OVERHEAD_BYTES = 32  # estimate for tags, lengths and timestamp


class DataApi:
    """The methods of the data API."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return the handler of each method, by method name."""
        return {
            "ReadRows": stream(bigtable.ReadRowsRequest, self._read_rows),
            "SampleRowKeys": stream(bigtable.SampleRowKeysRequest, self._sample_row_keys),
            "MutateRow": unary(bigtable.MutateRowRequest, self._mutate_row),
            "MutateRows": stream(bigtable.MutateRowsRequest, self._mutate_rows),
            "CheckAndMutateRow": unary(bigtable.CheckAndMutateRowRequest, self._check_and_mutate_row),
            "ReadModifyWriteRow": unary(bigtable.ReadModifyWriteRowRequest, self._read_modify_write_row),
            "PingAndWarm": unary(bigtable.PingAndWarmRequest, lambda _request: _PingAndWarmResponse()),
        }

    async def _read_rows(self, request: Any) -> AsyncIterator[Any]:
        table = self._database.table(request.table_name)
        apply_filter = compile_filter(request.filter)
        if request.rows_limit < 0:
            raise InvalidArgumentError(f"rows_limit {request.rows_limit} must be >= 0")
        keys = requested_keys(table, request.rows)
        if request.reversed:
            keys.reverse()
        writer, row_count = _ReadRowsWriter(), 0
        for turn, key in enumerate(keys, start=1):
            if turn % _ROWS_PER_TURN == 0:
                await asyncio.sleep(0)
            cells = apply_filter(key, table.cells(key))
            if not cells:
                continue
            for message in writer.add(key, cells):
                yield message
            row_count += 1
            if row_count == request.rows_limit:
                break
        for message in writer.rest():
            yield message

    async def _sample_row_keys(self, request: Any) -> AsyncIterator[Any]:
        """Yield a sample of the keys, always with the last one, and then the end of the table."""
        table = self._database.table(request.table_name)
        offset = 0
        keys = [(key, cells) for key in table.keys_between(b"", None) if (cells := table.cells(key))]
        for index, (key, cells) in enumerate(keys, start=1):
            if index == len(keys) or random.random() < _SAMPLED_SHARE:  # noqa: S311  not for security
                yield _SampleRowKeysResponse(row_key=key, offset_bytes=offset)
            offset += sum(len(cell.value) for cell in cells)
        yield _SampleRowKeysResponse(row_key=b"", offset_bytes=offset)

    def _mutate_row(self, request: Any) -> Any:
        table = self._database.table(request.table_name)
        check_row_key(request.row_key)
        check_mutation_count(len(request.mutations))
        table.change(request.row_key, parse_mutations(request.mutations, table.families))
        return _MutateRowResponse()

    async def _mutate_rows(self, request: Any) -> AsyncIterator[Any]:
        table = self._database.table(request.table_name)
        check_mutation_count(sum(len(entry.mutations) for entry in request.entries))
        response = _MutateRowsResponse()
        for index, entry in enumerate(request.entries):
            if index % _ROWS_PER_TURN == _ROWS_PER_TURN - 1:
                await asyncio.sleep(0)
            status = response.entries.add(index=index).status
            try:
                check_row_key(entry.row_key)
                check_mutation_count(len(entry.mutations))
                table.change(entry.row_key, parse_mutations(entry.mutations, table.families))
            except RequestError as error:
                status.code, status.message = error.code.value[0], str(error)
            else:
                status.SetInParent()
        yield response

    def _check_and_mutate_row(self, request: Any) -> Any:
        table = self._database.table(request.table_name)
        check_row_key(request.row_key)
        check_mutation_count(max(len(request.true_mutations), len(request.false_mutations)))
        if_true = parse_mutations(request.true_mutations, table.families)
        if_false = parse_mutations(request.false_mutations, table.families)
        predicate = compile_filter(request.predicate_filter)
        matched = bool(predicate(request.row_key, table.cells(request.row_key)))
        table.change(request.row_key, if_true if matched else if_false)
        return _CheckAndMutateRowResponse(predicate_matched=matched)

    def _read_modify_write_row(self, request: Any) -> Any:
        table = self._database.table(request.table_name)
        check_row_key(request.row_key)
        written = modified_cells(table.cells(request.row_key), request.rules, table.families)
        table.change(request.row_key, [partial(put_cell, cell=cell) for cell in written])
        return _read_modify_write_response(request.row_key, written)


class _ReadRowsWriter:
    """Makes the messages of a ReadRows stream from rows.

    It uses what the protocol allows and production does, but cbtemulator does not: several rows in one message; row
    key, family and qualifier only where they change; a large value in several chunks.
    """

    def __init__(self) -> None:
        self._message = _ReadRowsResponse()
        self._bytes = 0

    def add(self, key: bytes, cells: list[Cell]) -> Iterator[Any]:
        """Add a row of at least one cell; yield the messages that are full."""
        family, qualifier = None, None
        for index, cell in enumerate(cells):
            chunk = self._message.chunks.add(timestamp_micros=cell.timestamp)
            if index == 0:
                chunk.row_key = key
            if cell.family != family or cell.qualifier != qualifier:
                if cell.family != family:
                    chunk.family_name.value = family = cell.family
                chunk.qualifier.value = qualifier = cell.qualifier
            for start in range(0, len(cell.value) - _CHUNK_VALUE_BYTES, _CHUNK_VALUE_BYTES):
                chunk.value = cell.value[start : start + _CHUNK_VALUE_BYTES]
                chunk.value_size = len(cell.value)
                yield self._take()
                chunk = self._message.chunks.add()
            chunk.value = _last_part(cell.value)
            self._bytes += len(key) + len(cell.qualifier) + len(chunk.value) + _CHUNK_OVERHEAD_BYTES
            if index == len(cells) - 1:
                chunk.commit_row = True
            if self._bytes >= _MESSAGE_BYTES:
                yield self._take()

    def rest(self) -> Iterator[Any]:
        """Yield the last message, if it has any chunks."""
        if self._message.chunks:
            yield self._take()

    def _take(self) -> Any:
        message, self._message, self._bytes = self._message, _ReadRowsResponse(), 0
        return message


def _last_part(value: bytes) -> bytes:
    if len(value) <= _CHUNK_VALUE_BYTES:
        return value
    return value[-(len(value) % _CHUNK_VALUE_BYTES or _CHUNK_VALUE_BYTES) :]


def _read_modify_write_response(key: bytes, cells: Sequence[Cell]) -> Any:
    """Return the response for a row that got these new cells, one in each column."""
    response = _ReadModifyWriteRowResponse()
    response.row.key = key
    families: dict[str, Any] = {}
    for cell in sorted(cells):
        family = families.get(cell.family)
        if family is None:
            family = families[cell.family] = response.row.families.add(name=cell.family)
        column = family.columns.add(qualifier=cell.qualifier)
        column.cells.add(timestamp_micros=cell.timestamp, value=cell.value)
    return response
