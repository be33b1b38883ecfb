"""Errors of calls: the status codes of gRPC, by name."""

from collections.abc import Mapping
from typing import Self
from urllib.parse import unquote

_NAMES = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)

_BY_HTTP_STATUS = {
    "400": "INTERNAL",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "UNIMPLEMENTED",
    "429": "UNAVAILABLE",
    "502": "UNAVAILABLE",
    "503": "UNAVAILABLE",
    "504": "UNAVAILABLE",
}
"""Source: https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md"""

_BY_RESET_CODE = {0x7: "UNAVAILABLE", 0x8: "CANCELLED", 0xB: "RESOURCE_EXHAUSTED", 0xC: "PERMISSION_DENIED"}
"""Source: section "Errors" of https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md"""

_TRANSIENT = frozenset(("UNAVAILABLE", "ABORTED"))


class CallError(Exception):
    """A call failed. `code` is the name of its gRPC status, `reason` the message of the server."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason

    @property
    def is_transient(self) -> bool:
        """Return True if the same call may succeed at a second attempt."""
        return self.code in _TRANSIENT

    @classmethod
    def from_trailers(cls, headers: Mapping[str, str]) -> Self | None:
        """The error in the last headers of an answer; None if they report success."""
        status = headers.get("grpc-status")
        if status == "0":
            return None
        if status is None:
            http = headers.get(":status", "none")
            return cls(_BY_HTTP_STATUS.get(http, "UNKNOWN"), f"HTTP status {http} without a gRPC status")
        known = status.isdecimal() and int(status) < len(_NAMES)
        return cls(_NAMES[int(status)] if known else "UNKNOWN", unquote(headers.get("grpc-message", "")))

    @classmethod
    def from_reset(cls, error_code: int) -> Self:
        """The error of a call whose stream the server reset with an HTTP/2 error code."""
        return cls(_BY_RESET_CODE.get(error_code, "INTERNAL"), f"the stream was reset with HTTP/2 code {error_code}")
