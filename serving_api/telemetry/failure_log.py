"""A line in the log for every request that failed, up to a rate: what keeps a flood of refusals cheap."""

import logging
import time
from http import HTTPStatus

import structlog

_log = structlog.get_logger(__name__)
_levels = logging.getLogger(__name__)

_LINES_PER_SECOND = 20.0
_BURST = 100.0


class FailureLog:
    """Writes lines about failures of the service, and at the level `debug` about those of clients."""

    def __init__(self) -> None:
        self._lines = _BURST
        self._counted_at = time.monotonic()
        self._left_out = 0

    def takes(self, status: int) -> bool:
        """Whether a line about an answer of that status is to be written, which must then be done.

        It is not if there have been too many; then the next line says how many were left out.
        """
        if status < 500 and (status < 400 or not _levels.isEnabledFor(logging.DEBUG)):  # noqa: PLR2004  HTTP's classes
            return False
        now = time.monotonic()
        self._lines = min(_BURST, self._lines + (now - self._counted_at) * _LINES_PER_SECOND)
        self._counted_at = now
        if self._lines < 1:
            self._left_out += 1
            return False
        self._lines -= 1
        return True

    def write(self, status: int, problem: str | None, bug: Exception | None, **fields: str | float | bool) -> None:
        """Write a line.

        Args:
            status: of the answer.
            problem: the title of its problem document.
            bug: what nobody foresaw, if that is why.
            fields: what else is known. No path of a URL: there are ids of entities in them.
        """
        if self._left_out:
            fields["left_out"] = self._left_out
            self._left_out = 0
        _log.log(_level(status), "a request failed", status=status, problem=problem, exc_info=bug, **fields)


def _level(status: int) -> int:
    """Of a bug: error. Of what passes by itself (503, 504): warning. Of what the client got wrong: debug."""
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.DEBUG
    return logging.ERROR if status == HTTPStatus.INTERNAL_SERVER_ERROR else logging.WARNING
