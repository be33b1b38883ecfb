"""Correlation of answers, log lines and traces: the id of a request, and the trace that it belongs to."""

import re
import secrets
from collections.abc import Callable, Mapping
from itertools import count

REQUEST_ID = b"x-request-id"

_VALID_ID = re.compile(rb"[\x20-\x7e]{1,128}")
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_SAMPLED = 0x01

Trace = tuple[str, str, bool]
"""The id of a trace, the id of one of its spans, and True if the trace is sampled."""


class Correlation:
    """Gives requests an id, and log lines the fields that lead to their request and trace."""

    def __init__(self, project: str, own_trace: Callable[[], Trace | None] | None = None) -> None:
        """Prepare ids that no other process gives.

        Args:
            project: the Google Cloud project that has the traces.
            own_trace: returns the trace that this process makes of the current request; if that is None, log lines
                name the client's trace.
        """
        self._project = project
        self._own_trace = own_trace
        self._prefix = secrets.token_hex(6).encode()
        self._numbers = count(1)

    def request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The id that the client sent, if it is printable ASCII of at most 128 characters; else a new one."""
        given = headers.get(REQUEST_ID)
        if given is not None and _VALID_ID.fullmatch(given):
            return given
        return b"%b-%x" % (self._prefix, next(self._numbers))

    def log_fields(self, headers: Mapping[bytes, bytes], request_id: bytes) -> dict[str, str | bool]:
        """The fields of log lines about a request, by the names that Cloud Logging knows."""
        fields: dict[str, str | bool] = {"request_id": request_id.decode("ascii")}
        trace = (self._own_trace() if self._own_trace else None) or _client_trace(headers)
        if trace:
            trace_id, span_id, sampled = trace
            fields["logging.googleapis.com/trace"] = f"projects/{self._project}/traces/{trace_id}"
            fields["logging.googleapis.com/spanId"] = span_id
            fields["logging.googleapis.com/trace_sampled"] = sampled
        return fields


def _client_trace(headers: Mapping[bytes, bytes]) -> Trace | None:
    """The trace in the header `traceparent` (W3C Trace Context, 3.2); None if there is none, or it is invalid."""
    match = _TRACEPARENT.fullmatch(headers.get(b"traceparent", b""))
    if match is None:
        return None
    trace_id, span_id, flags = (part.decode("ascii") for part in match.groups())
    return trace_id, span_id, bool(int(flags, 16) & _SAMPLED)
