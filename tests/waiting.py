"""Waiting for a condition, never for a time."""

import asyncio
import inspect
import time

SECONDS = 60.0
_POLL_SECONDS = 0.02


def wait_for(condition, seconds=SECONDS, describe=lambda: ""):
    """Call a condition until what it returns is true, and return that.

    Args:
        condition: a function without arguments.
        seconds: the time after which the test fails.
        describe: returns what to say then.
    """
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {describe()}"
        time.sleep(_POLL_SECONDS)
    return found


async def eventually(condition, seconds=SECONDS):
    """Call a condition, or await it, until what it returns is true, and return that."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if found := await found if inspect.isawaitable(found) else found:
                return found
            await asyncio.sleep(_POLL_SECONDS)
