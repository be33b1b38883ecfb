"""The log of failed requests, with a rate limit, so that a flood of failures stays cheap."""

import logging
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus

import structlog

_log = structlog.get_logger(__name__)
_levels = logging.getLogger(__name__)

_LINES_PER_SECOND = 20.0
_BURST = 100.0


class FailureLog:
    """Logs failures of the service, and at the level `debug` also those of clients."""

    def __init__(self) -> None:
        self._allowance = _BURST
        self._refilled_at = time.monotonic()
        self._left_out = 0

    def log(
        self,
        status: int,
        problem: str | None,
        bug: Exception | None,
        fields: Callable[[], Mapping[str, str | float | bool]],
    ) -> None:
        """Log an answer if its status is a failure and the rate limit allows it.

        A line that exceeds the limit is left out; the next line tells how many were.

        Args:
            status: the status of the answer.
            problem: the title of the problem document.
            bug: the exception that caused it, if it is a bug.
            fields: returns further fields; called only if a line is written. They must not have the path of the URL,
                which contains ids of entities.
        """
        level = _level(status)
        if level is None or not self._take_line():
            return
        left_out = {"left_out": self._left_out} if self._left_out else {}
        self._left_out = 0
        _log.log(level, "a request failed", status=status, problem=problem, exc_info=bug, **fields(), **left_out)

    def _take_line(self) -> bool:
        """Use one line of the allowance. Return False, and count the line as left out, if none remains."""
        now = time.monotonic()
        self._allowance = min(_BURST, self._allowance + (now - self._refilled_at) * _LINES_PER_SECOND)
        self._refilled_at = now
        if self._allowance < 1:
            self._left_out += 1
            return False
        self._allowance -= 1
        return True


def _level(status: int) -> int | None:
    """The level of a failure: error for a bug, warning for what passes by itself (503, 504), debug for a client's.

    None if the status is no failure, or the level is not logged.
    """
    if status < HTTPStatus.BAD_REQUEST:
        return None
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.DEBUG if _levels.isEnabledFor(logging.DEBUG) else None
    return logging.ERROR if status == HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING
