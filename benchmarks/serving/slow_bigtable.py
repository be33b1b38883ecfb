"""A proxy to a Bigtable that delays random reads: `python -m benchmarks.serving.slow_bigtable ADDRESS SHARE SECONDS`.

It forwards all calls to the Bigtable at ADDRESS, and delays a SHARE of the reads of predictions by SECONDS. Its first
line of output ends with its own address.
"""

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from benchmarks.serving.predictions import ENTITY_TYPE, INSTANCE

_TABLE = INSTANCE.table(ENTITY_TYPE).encode()


class SlowAtRandom(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc is untyped
    """Forwards calls of all methods, and delays some of them."""

    def __init__(self, upstream: grpc.aio.Channel, share: float, seconds: float) -> None:
        self._upstream = upstream
        self._share = share
        self._seconds = seconds
        self._chance = random.Random(0)  # noqa: S311  the same in every run

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a call. On the wire, a single response is a stream of one."""
        call = self._upstream.unary_stream(handler_call_details.method, None, None)

        async def pass_on(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            if _TABLE in request and self._chance.random() < self._share:
                await asyncio.sleep(self._seconds)
            try:
                async for response in call(request, timeout=context.time_remaining()):
                    yield response
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details())

        return grpc.unary_stream_rpc_method_handler(pass_on)


async def _serve(address: str, share: float, seconds: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with grpc.aio.insecure_channel(address) as upstream:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((SlowAtRandom(upstream, share, seconds),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        sys.stdout.write(f"slow at random at 127.0.0.1:{port}\n")
        sys.stdout.flush()
        await stop.wait()
        await server.stop(grace=None)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], float(sys.argv[2]), float(sys.argv[3])))
