"""MutateRows in bulk: several requests in flight, and only the entries that failed sent again."""

import logging
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import grpc

from prediction_store.connection import routing_metadata
from prediction_store.protos import MutateRowsRequest, mutate_rows

MAX_ENTRIES = 2_000
"""Entries a request: more gained nothing on two cores. Bigtable's limit is 100,000 mutations."""

MAX_BYTES = 8 * 1024 * 1024
"""Bytes at which a request is sent. A single larger row still goes out, alone."""

MAX_IN_FLIGHT = 4
"""Requests that wait for their answer at the same time."""

_RETRYABLE = frozenset(
    code.value[0] for code in (grpc.StatusCode.ABORTED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE)
)
_FIRST_DELAY = 0.05
_LARGEST_DELAY = 10.0
_REQUEST_TIMEOUT = 60.0

_log = logging.getLogger(__name__)


class WriteError(Exception):
    """Rows that Bigtable refused, or did not take before the deadline."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to write: the table's full name, the app profile, and how long a failing write is tried again."""

    table: str
    app_profile: str
    deadline_seconds: float


@dataclass(slots=True)
class _Call:
    request: Any
    answers: Any
    deadline: float
    attempt: int = 0


class BulkWriter:
    """Writes entries to one table. Not thread-safe. Every entry is written when `flush` has returned."""

    def __init__(self, channel: grpc.Channel, target: Target) -> None:
        """Write to `target`."""
        self._mutate_rows = mutate_rows(channel)
        self._target = target
        self._metadata = (routing_metadata(target.table, target.app_profile),)
        self._in_flight: deque[_Call] = deque()
        self.retries = 0
        self._start_request()

    def add(self, entry: Any) -> None:
        """Take over a copy of an entry; send it with others when there are enough.

        Raises:
            WriteError: an earlier entry could not be written.
        """
        self._request.entries.append(entry)
        self._bytes += entry.ByteSize()
        if len(self._request.entries) >= MAX_ENTRIES or self._bytes >= MAX_BYTES:
            self._send()

    def flush(self) -> None:
        """Send what is left, and wait until everything is written.

        Raises:
            WriteError: an entry could not be written; names the first ones and why.
        """
        if self._request.entries:
            self._send()
        while self._in_flight:
            self._settle(self._in_flight.popleft())

    def _start_request(self) -> None:
        self._request = self._empty_request()
        self._bytes = 0

    def _empty_request(self) -> Any:
        return MutateRowsRequest(table_name=self._target.table, app_profile_id=self._target.app_profile)

    def _send(self) -> None:
        if len(self._in_flight) >= MAX_IN_FLIGHT:
            self._settle(self._in_flight.popleft())
        deadline = time.monotonic() + self._target.deadline_seconds
        self._in_flight.append(_Call(self._request, self._call(self._request), deadline))
        self._start_request()

    def _call(self, request: Any) -> Any:
        return self._mutate_rows(request, timeout=_REQUEST_TIMEOUT, metadata=self._metadata)

    def _settle(self, call: _Call) -> None:
        """Wait for an answer, and send again what failed for a passing reason, until nothing is left."""
        while failed := self._failed_entries(call):
            if refused := [(key, status) for key, status in failed.values() if status.code not in _RETRYABLE]:
                raise WriteError(_describe("Bigtable refused", refused))
            if time.monotonic() >= call.deadline:
                problem = f"Bigtable did not take within {self._target.deadline_seconds:g} s"
                raise WriteError(_describe(problem, list(failed.values())))
            delay = min(_LARGEST_DELAY, _FIRST_DELAY * 2**call.attempt) * random.uniform(0.5, 1)  # noqa: S311  jitter
            _log.warning("%s; again in %.2f s", _describe("Bigtable did not take", list(failed.values())), delay)
            time.sleep(delay)
            self.retries += len(failed)
            request = self._empty_request()
            request.entries.extend(call.request.entries[index] for index in failed)
            call.request, call.answers, call.attempt = request, self._call(request), call.attempt + 1

    def _failed_entries(self, call: _Call) -> dict[int, tuple[bytes, "_Status"]]:
        """Row key and status of the entries that were not written, by index."""
        entries = call.request.entries
        statuses: dict[int, _Status] = {}
        unanswered = _Status(grpc.StatusCode.UNAVAILABLE.value[0], "the answer ended before this row")
        try:
            for response in call.answers:
                for answer in response.entries:
                    statuses[answer.index] = _Status(answer.status.code, answer.status.message)
        except grpc.RpcError as error:
            unanswered = _Status(error.code().value[0], error.details() or "")
        return {
            index: (entry.row_key, status)
            for index, entry in enumerate(entries)
            if (status := statuses.get(index, unanswered)).code != 0
        }


@dataclass(frozen=True, slots=True)
class _Status:
    code: int
    message: str


def _describe(problem: str, failed: list[tuple[bytes, _Status]]) -> str:
    names = {code.value[0]: code.name for code in grpc.StatusCode}
    first = "; ".join(f"{key[:64]!r}: {names.get(s.code, s.code)} {s.message}" for key, s in failed[:3])
    return f"{problem} {len(failed)} rows, the first: {first}"
