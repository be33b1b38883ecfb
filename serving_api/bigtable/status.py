"""Errors of calls: the status codes of gRPC, by name."""

from collections.abc import Mapping
from typing import Self
from urllib.parse import unquote

from prediction_store.connection import reports_reset

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

_BY_RESET_CODE = {
    0x0: "UNAVAILABLE",
    0x2: "UNAVAILABLE",
    0x5: "UNAVAILABLE",
    0x7: "UNAVAILABLE",
    0x8: "CANCELLED",
    0xB: "RESOURCE_EXHAUSTED",
    0xC: "PERMISSION_DENIED",
}
"""Source: section "Errors" of https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md

gRPC has no status for STREAM_CLOSED (0x5), and makes INTERNAL of NO_ERROR (0x0) and INTERNAL_ERROR (0x2). Google's
front ends reset streams with these in normal operation, so all of Google's Bigtable clients repeat such reads:
https://github.com/googleapis/java-bigtable/issues/106
"""

_REFUSED_STREAM = 0x7

_TRANSIENT = frozenset(("UNAVAILABLE", "ABORTED"))


class CallError(Exception):
    """A call failed.

    Attributes:
        code: the name of its gRPC status.
        reason: the message of the server.
        unprocessed: True if the server certainly did nothing for the call, so that another attempt adds no load.
    """

    def __init__(self, code: str, reason: str, *, unprocessed: bool = False) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
        self.unprocessed = unprocessed

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
        return cls.from_status(_NAMES[int(status)] if known else "UNKNOWN", unquote(headers.get("grpc-message", "")))

    @classmethod
    def from_status(cls, code: str, reason: str) -> Self:
        """The error of a gRPC status: UNAVAILABLE if the message of INTERNAL reports a reset, as a proxy's does."""
        return cls("UNAVAILABLE" if code == "INTERNAL" and reports_reset(reason) else code, reason)

    @classmethod
    def from_reset(cls, error_code: int) -> Self:
        """The error of a call whose stream the server reset with an HTTP/2 error code."""
        code = _BY_RESET_CODE.get(error_code, "INTERNAL")
        reason = f"the stream was reset with HTTP/2 code {error_code}"
        return cls(code, reason, unprocessed=error_code == _REFUSED_STREAM)
