"""The ways in which Bigtable refuses a request."""

from typing import ClassVar

import grpc


class RequestError(Exception):
    """A refused request: `code` is the gRPC status, the message its details."""

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
    """Bigtable has it, this implementation does not."""

    code = grpc.StatusCode.UNIMPLEMENTED
