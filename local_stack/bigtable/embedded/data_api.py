"""The service `google.bigtable.v2.Bigtable`."""

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
from google.cloud.bigtable_v2.types import bigtable

from local_stack.bigtable.embedded.cells import put_cell
from local_stack.bigtable.embedded.database import Database
from local_stack.bigtable.embedded.errors import InvalidArgumentError, RequestError
from local_stack.bigtable.embedded.filters import compile_filter
from local_stack.bigtable.embedded.mutations import (
    check_mutation_count,
    check_row_key,
    parse_mutations,
)
from local_stack.bigtable.embedded.read_modify_write import modified_cells, read_modify_write_response
from local_stack.bigtable.embedded.read_response import ReadResponseWriter
from local_stack.bigtable.embedded.row_set import requested_keys
from local_stack.bigtable.embedded.rpc import stream, unary

SERVICE = "google.bigtable.v2.Bigtable"

_MutateRowResponse = bigtable.MutateRowResponse.pb()
_MutateRowsResponse = bigtable.MutateRowsResponse.pb()
_CheckAndMutateRowResponse = bigtable.CheckAndMutateRowResponse.pb()
_SampleRowKeysResponse = bigtable.SampleRowKeysResponse.pb()
_PingAndWarmResponse = bigtable.PingAndWarmResponse.pb()

_ROWS_PER_TURN = 250  # so many rows are read or written before other requests get their turn: about a millisecond
_SAMPLED_SHARE = 0.01  # of the keys, as cbtemulator samples


class DataApi:
    """Reads and writes rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Returns the handler of each method by its name."""
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
        table = self._database[request.table_name]
        apply_filter = compile_filter(request.filter)
        if request.rows_limit < 0:
            raise InvalidArgumentError(f"rows_limit {request.rows_limit} must be >= 0")
        keys = requested_keys(table, request.rows)
        if request.reversed:
            keys.reverse()
        writer, found = ReadResponseWriter(), 0
        for turn, key in enumerate(keys, start=1):
            if turn % _ROWS_PER_TURN == 0:
                await asyncio.sleep(0)
            cells = apply_filter(key, table.cells(key))
            if not cells:
                continue
            for message in writer.add(key, cells):
                yield message
            found += 1
            if found == request.rows_limit:
                break
        for message in writer.rest():
            yield message

    async def _sample_row_keys(self, request: Any) -> AsyncIterator[Any]:
        """Answers some keys, always the last one, and then the end of the table."""
        table = self._database[request.table_name]
        offset = 0
        keys = [(key, cells) for key in table.keys_between(b"", None) if (cells := table.cells(key))]
        for index, (key, cells) in enumerate(keys, start=1):
            if index == len(keys) or random.random() < _SAMPLED_SHARE:  # noqa: S311 - nothing secret
                yield _SampleRowKeysResponse(row_key=key, offset_bytes=offset)
            offset += sum(len(cell.value) for cell in cells)
        yield _SampleRowKeysResponse(row_key=b"", offset_bytes=offset)

    def _mutate_row(self, request: Any) -> Any:
        table = self._database[request.table_name]
        check_row_key(request.row_key)
        check_mutation_count(len(request.mutations))
        table.change(request.row_key, parse_mutations(request.mutations, table.families))
        return _MutateRowResponse()

    async def _mutate_rows(self, request: Any) -> AsyncIterator[Any]:
        table = self._database[request.table_name]
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
        table = self._database[request.table_name]
        check_row_key(request.row_key)
        check_mutation_count(max(len(request.true_mutations), len(request.false_mutations)))
        if_true = parse_mutations(request.true_mutations, table.families)
        if_false = parse_mutations(request.false_mutations, table.families)
        predicate = compile_filter(request.predicate_filter)
        matched = bool(predicate(request.row_key, table.cells(request.row_key)))
        table.change(request.row_key, if_true if matched else if_false)
        return _CheckAndMutateRowResponse(predicate_matched=matched)

    def _read_modify_write_row(self, request: Any) -> Any:
        table = self._database[request.table_name]
        check_row_key(request.row_key)
        written = modified_cells(table.cells(request.row_key), request.rules, table.families)
        table.change(request.row_key, [partial(put_cell, cell=cell) for cell in written])
        return read_modify_write_response(request.row_key, written)
