"""A gRPC proxy that changes calls to a real server."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

_NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_NOT_PASSED_ON = {"user-agent", "te"}

Answers = Iterator[bytes]
Change = Callable[[grpc.ServicerContext, bytes, Callable[..., Answers]], Answers]
"""A function that answers a request.

It gets the call's context, the request, and a function that returns the real server's answers to it or, if it is given
one, to another request.
"""


class _Proxy(grpc.GenericRpcHandler):
    def __init__(self, channel: grpc.Channel, changes: dict[str, Change]) -> None:
        self._channel = channel
        self._changes = changes

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        change = self._changes.get(details.method.rpartition("/")[2])

        def call(request: bytes, context: grpc.ServicerContext) -> Answers:
            metadata = [(key, value) for key, value in context.invocation_metadata() if key not in _NOT_PASSED_ON]

            def answers(changed: bytes | None = None) -> Answers:
                try:
                    yield from self._channel.unary_stream(details.method)(changed or request, metadata=metadata)
                except grpc.RpcError as error:
                    context.abort(error.code(), error.details())

            yield from change(context, request, answers) if change else answers()

        return grpc.unary_stream_rpc_method_handler(call)  # on the wire, a unary answer is a stream of one


@contextmanager
def proxy(target: str, **changes: Change) -> Iterator[str]:
    """Run a proxy to the server at `target`; yield its address. `changes` has the methods whose calls it changes."""
    server = grpc.server(ThreadPoolExecutor(16), options=_NO_LIMIT)
    with grpc.insecure_channel(target, options=_NO_LIMIT) as channel:
        server.add_generic_rpc_handlers([_Proxy(channel, changes)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
