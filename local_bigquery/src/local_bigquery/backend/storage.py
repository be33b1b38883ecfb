"""The Storage Read and Write API: a gRPC proxy in front of the emulator.

Calls that touch tables hold the emulator's lock (see `Emulator`). ReadRows does not need it, because the emulator
copies the rows when the session is created. The emulator ignores the offset of ReadRows, so the proxy skips the rows
before it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
from google.cloud.bigquery_storage_v1.types import ReadRowsRequest, ReadRowsResponse

from local_bigquery.backend.emulator import Emulator

_SERVICE = "/google.cloud.bigquery.storage.v1."
_READ_ROWS = _SERVICE + "BigQueryRead/ReadRows"
_APPEND_ROWS = _SERVICE + "BigQueryWrite/AppendRows"
_NO_SIZE_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_HOP_BY_HOP = {"user-agent", "te"}


class StorageProxy(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio ships no types
    """Forwards every call as bytes."""

    def __init__(self, emulator: Emulator, channel: grpc.aio.Channel) -> None:
        self._emulator = emulator
        self._channel = channel

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """Return the handler of a method."""
        method = details.method
        if method == _READ_ROWS:
            return grpc.unary_stream_rpc_method_handler(self._read_rows)
        if method == _APPEND_ROWS:
            return grpc.stream_stream_rpc_method_handler(self._append_rows)

        async def unary(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            async def call() -> bytes:
                response: bytes = await self._channel.unary_unary(method)(request, metadata=_metadata(context))
                return response

            async with _forwarded_errors(context):
                return await self._emulator.exclusively(call())

        return grpc.unary_unary_rpc_method_handler(unary)

    async def _read_rows(self, request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        to_skip = ReadRowsRequest.deserialize(request).offset
        async with _forwarded_errors(context):
            async for message in self._channel.unary_stream(_READ_ROWS)(request, metadata=_metadata(context)):
                if to_skip <= 0:
                    yield message
                    continue
                to_skip -= ReadRowsResponse.deserialize(message).row_count
                # Clients resume after the last message they received. BigQuery would accept any offset.
                if to_skip < 0:
                    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the offset is not at the end of a message")

    async def _append_rows(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """Forward one request at a time; each has exactly one response."""
        stream = self._channel.stream_stream(_APPEND_ROWS)(metadata=_metadata(context))

        async def append(request: bytes) -> bytes:
            await stream.write(request)
            response: bytes = await stream.read()
            return response

        async with _forwarded_errors(context):
            async for request in requests:
                yield await self._emulator.exclusively(append(request))
            await stream.done_writing()


async def start_storage(emulator: Emulator, grpc_port: int, host: str, port: int) -> tuple[grpc.aio.Server, int]:
    """Start the gRPC server; return it and the port it listens on.

    Args:
        emulator: the emulator whose lock the calls hold.
        grpc_port: the gRPC port of the emulator.
        host: the address to listen on.
        port: the port to listen on; 0 chooses a free one.

    Raises:
        RuntimeError: the port is in use.
    """
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options=_NO_SIZE_LIMIT)
    server = grpc.aio.server(options=[*_NO_SIZE_LIMIT, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([StorageProxy(emulator, channel)])
    actual_port = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    return server, actual_port


@asynccontextmanager
async def _forwarded_errors(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        await context.abort(error.code(), error.details())


def _metadata(context: grpc.aio.ServicerContext) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in context.invocation_metadata() or () if key not in _HOP_BY_HOP]
