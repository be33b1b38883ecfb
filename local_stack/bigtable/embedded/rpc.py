"""gRPC handlers made of functions over messages, and the errors by which these functions refuse a request."""

from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar, NoReturn

import grpc


class RequestError(Exception):
    """A refused request. `code` is the gRPC status; the message is its details."""

    code: ClassVar[grpc.StatusCode]


class InvalidArgumentError(RequestError):
    """The request breaks a rule of the API."""

    code = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(RequestError):
    """The table or column family does not exist."""

    code = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(RequestError):
    """The table or column family exists."""

    code = grpc.StatusCode.ALREADY_EXISTS


class UnimplementedError(RequestError):
    """The request uses a feature of Bigtable that the embedded Bigtable does not have."""

    code = grpc.StatusCode.UNIMPLEMENTED


def unary(request_type: Any, answer: Callable[[Any], Any]) -> grpc.RpcMethodHandler:
    """Return the handler of a method that answers with one message.

    Args:
        request_type: the proto-plus class of the request. `answer` gets the protobuf message inside, which is faster.
        answer: returns the response, or None for `google.protobuf.Empty`. A RequestError that it raises becomes the
            status of the call.
    """

    async def handle(request: Any, context: Any) -> Any:
        try:
            response = answer(request)
        except RequestError as error:
            await _abort(context, error)
        return b"" if response is None else response.SerializeToString()

    return grpc.unary_unary_rpc_method_handler(handle, request_type.pb().FromString)


def stream(request_type: Any, answer: Callable[[Any], AsyncIterator[Any]]) -> grpc.RpcMethodHandler:
    """Return the handler of a method that answers with a stream of messages. The arguments are those of `unary`."""

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
