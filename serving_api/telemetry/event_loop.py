"""How late the event loop is: what every request waits for, when a process has more to do than its core can."""

import asyncio
import time

from prometheus_client import Histogram

_PROBE_SECONDS = 0.25


async def measure_lag(lag: Histogram) -> None:
    """Sleep for a while, again and again until cancelled, and observe by how much too long that was."""
    while True:
        started = time.perf_counter()
        await asyncio.sleep(_PROBE_SECONDS)
        lag.observe(max(0.0, time.perf_counter() - started - _PROBE_SECONDS))
