"""The Storage Read and Write API: passed on to the emulator, call by call, without looking inside.

What touches the emulator's tables waits its turn with the REST requests (see `Emulator`). Reading the rows of a session
does not: the emulator has copied them when the session was created. The emulator always reads a stream from its start,
so rows before the offset of a request are left out here.
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
_NO_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_NOT_PASSED_ON = {"user-agent", "te"}


class StorageProxy(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio ships no types
    """Passes every call on as bytes."""

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
                answer: bytes = await self._channel.unary_unary(method)(request, metadata=_metadata(context))
                return answer

            async with _errors_passed_back(context):
                return await self._emulator.exclusively(call())

        return grpc.unary_unary_rpc_method_handler(unary)

    async def _read_rows(self, request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        before = ReadRowsRequest.deserialize(request).offset
        async with _errors_passed_back(context):
            async for message in self._channel.unary_stream(_READ_ROWS)(request, metadata=_metadata(context)):
                if before <= 0:
                    yield message
                    continue
                before -= ReadRowsResponse.deserialize(message).row_count
                if before < 0:  # clients resume after the messages that they have; BigQuery would resume anywhere
                    await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the offset is not at the end of a message")

    async def _append_rows(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """Pass on one request at a time: each has one answer."""
        stream = self._channel.stream_stream(_APPEND_ROWS)(metadata=_metadata(context))

        async def append(request: bytes) -> bytes:
            await stream.write(request)
            answer: bytes = await stream.read()
            return answer

        async with _errors_passed_back(context):
            async for request in requests:
                yield await self._emulator.exclusively(append(request))
            await stream.done_writing()


async def start_storage(emulator: Emulator, grpc_port: int, host: str, port: int) -> tuple[grpc.aio.Server, int]:
    """Start the server; return it and the port it listens on.

    Args:
        emulator: Whose turn-taking the calls join.
        grpc_port: The emulator's own gRPC port.
        host: The address to listen on.
        port: The port to listen on; 0 chooses a free one.

    Raises:
        RuntimeError: If the port is taken.
    """
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}", options=_NO_LIMIT)
    server = grpc.aio.server(options=[*_NO_LIMIT, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers([StorageProxy(emulator, channel)])
    bound = server.add_insecure_port(f"{host}:{port}")
    await server.start()
    return server, bound


@asynccontextmanager
async def _errors_passed_back(context: grpc.aio.ServicerContext) -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        await context.abort(error.code(), error.details())


def _metadata(context: grpc.aio.ServicerContext) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in context.invocation_metadata() or () if key not in _NOT_PASSED_ON]
