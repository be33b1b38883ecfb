"""The gRPC server of the embedded Bigtable."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from local_stack.bigtable import Serving, StartError, Timing
from local_stack.bigtable.embedded import admin_api, data_api
from local_stack.bigtable.embedded.storage import Database

_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second server on the same port must fail instead of sharing the requests
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)
_STOP_SECONDS = 1.0


@asynccontextmanager
async def serve(host: str, port: int, garbage_collection: Timing) -> AsyncIterator[Serving]:
    """Serve an empty database until the context ends.

    Args:
        host: the address to listen on.
        port: the port to listen on; 0 takes a free one.
        garbage_collection: the time at which the garbage of a row is collected.

    Raises:
        StartError: the port cannot be listened on.
    """
    database = Database(garbage_collection)
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(data_api.SERVICE, data_api.DataApi(database).handlers()),
            grpc.method_handlers_generic_handler(admin_api.SERVICE, admin_api.AdminApi(database).handlers()),
        )
    )
    try:
        port = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error}") from error

    await server.start()
    try:
        yield Serving("embedded", f"{host}:{port}", _never)
    finally:
        await server.stop(_STOP_SECONDS)


async def _never() -> str:
    """Wait forever, because this server does not end before its process."""
    never: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    return await never
