"""How long a request may take: as long as the operator allows, or less if the client asks for less."""

import asyncio
from collections.abc import Mapping

from serving_api.http.problems import invalid

HEADER = "X-Deadline-Ms"

_NAME = HEADER.lower().encode()


def deadline(headers: Mapping[bytes, bytes], longest_seconds: float) -> float:
    """Until when a request that has just come may take, a time of the event loop.

    Args:
        headers: of the request; `X-Deadline-Ms` is how long the client will wait, in milliseconds.
        longest_seconds: what the operator allows.

    Raises:
        ProblemError: the header is not a positive number.
    """
    now = asyncio.get_running_loop().time()
    theirs = headers.get(_NAME)
    if theirs is None:
        return now + longest_seconds
    try:
        seconds = int(theirs) / 1000
    except ValueError:
        seconds = 0
    if seconds <= 0:
        raise invalid(HEADER, f"must be a whole number of milliseconds above 0, not {theirs.decode('latin-1')!r}")
    return now + min(seconds, longest_seconds)
