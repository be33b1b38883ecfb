"""Turns functions over protocol messages into gRPC handlers."""

from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc

from local_stack.bigtable.embedded.errors import RequestError


def unary(request_type: Any, answer: Callable[[Any], Any]) -> grpc.RpcMethodHandler:
    """Returns the handler of a method that answers one message.

    Args:
        request_type: the proto-plus class of the request; `answer` gets the plain message beneath, which is faster.
        answer: from request to response, None meaning `google.protobuf.Empty`; a RequestError that it raises becomes
            the status of the call.
    """

    async def handle(request: Any, context: Any) -> Any:
        try:
            response = answer(request)
        except RequestError as error:
            await _abort(context, error)
        return b"" if response is None else response.SerializeToString()

    return grpc.unary_unary_rpc_method_handler(handle, request_type.pb().FromString)


def stream(request_type: Any, answer: Callable[[Any], AsyncIterator[Any]]) -> grpc.RpcMethodHandler:
    """Returns the handler of a method that answers a stream of messages; the arguments are those of `unary`."""

    async def handle(request: Any, context: Any) -> AsyncIterator[Any]:
        try:
            async for response in answer(request):
                yield response.SerializeToString()
        except RequestError as error:
            await _abort(context, error)

    return grpc.unary_stream_rpc_method_handler(handle, request_type.pb().FromString)


async def _abort(context: Any, error: RequestError) -> NoReturn:
    await context.abort(error.code, str(error))
    raise AssertionError("abort does not return")
