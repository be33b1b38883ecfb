"""A file with the tables of the stack's instance, because both Bigtables keep their data in memory.

The file is a sequence of messages, each after its length: for each table, a Table of the admin API, and MutateRows
requests that write its rows.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import grpc
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient
from google.cloud.bigtable_admin_v2.services.bigtable_table_admin.transports import BigtableTableAdminGrpcTransport
from google.cloud.bigtable_admin_v2.types import Table

from local_stack.settings import INSTANCE, PROJECT
from prediction_store.connection import mutate_rows, read_rows
from prediction_store.layout import Instance
from prediction_store.messages import CellAssembler, MutateRowsRequest, ReadRowsRequest

_INSTANCE = Instance(PROJECT, INSTANCE)
_LENGTH = struct.Struct(">cI")
_TABLE, _ROWS = b"T", b"R"
_CELLS_PER_REQUEST = 10_000
_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def save(address: str, file: Path) -> None:
    """Write the tables of the Bigtable at an address. The file is replaced when all of them are written."""
    unfinished = file.with_suffix(".unfinished")
    with grpc.insecure_channel(address, options=_OPTIONS) as channel, unfinished.open("wb") as output:
        admin = _admin(channel)
        for listed in admin.list_tables(parent=_INSTANCE.name):
            table = admin.get_table(name=listed.name)
            _write(output, _TABLE, Table.serialize(table))
            for request in _requests(channel, table.name):
                _write(output, _ROWS, request.SerializeToString())
    unfinished.replace(file)


def load(address: str, file: Path) -> None:
    """Fill the empty Bigtable at an address with the tables in a file. Without the file, it stays empty."""
    if not file.exists():
        return
    with grpc.insecure_channel(address, options=_OPTIONS) as channel, file.open("rb") as saved:
        admin, write = _admin(channel), mutate_rows(channel)
        for kind, content in _messages(saved):
            if kind == _ROWS:
                for _ in write(content):
                    pass
                continue
            table = Table.deserialize(content)
            table_id = table.name.rpartition("/")[2]
            families = Table(column_families=table.column_families)
            admin.create_table(parent=_INSTANCE.name, table_id=table_id, table=families)


def _requests(channel: grpc.Channel, table: str) -> Iterator[Any]:
    """Yield the requests that write the rows of a table."""
    request, cells = MutateRowsRequest(table_name=table), 0
    assembler = CellAssembler()
    for response in read_rows(channel)(ReadRowsRequest(table_name=table)):
        for key, row in assembler.feed(response):
            entry = request.entries.add(row_key=key)
            for family, qualifier, timestamp, value, _ in row:
                cell = entry.mutations.add().set_cell
                cell.family_name, cell.column_qualifier = family, qualifier
                cell.timestamp_micros, cell.value = timestamp, value
            cells += len(row)
            if cells >= _CELLS_PER_REQUEST:
                yield request
                request, cells = MutateRowsRequest(table_name=table), 0
    assembler.finish()
    if cells:
        yield request


def _write(output: BinaryIO, kind: bytes, content: bytes) -> None:
    output.write(_LENGTH.pack(kind, len(content)))
    output.write(content)


def _messages(saved: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    while head := saved.read(_LENGTH.size):
        kind, length = _LENGTH.unpack(head)
        yield kind, saved.read(length)


def _admin(channel: grpc.Channel) -> BigtableTableAdminClient:
    return BigtableTableAdminClient(transport=BigtableTableAdminGrpcTransport(channel=channel))
