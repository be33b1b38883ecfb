"""The rate limit of a worker process: Bigtable's batch write flow control, and a fixed cap.

A client that declares the feature gets a factor and a period in responses to MutateRows. It multiplies its rate by the
factor, and then leaves it unchanged for the period. The app profile has to route to a single cluster.

Rules and constants are those of Google's Java client (RateLimitingServerStreamingCallable in java-bigtable), which
limits requests of 100 rows. Here the rates are in rows.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

_FIRST_RATE = 1_000.0  # rows/s
_SLOWEST, _FASTEST = 10.0, 10_000_000.0  # rows/s
_SMALLEST_FACTOR, _LARGEST_FACTOR = 0.7, 1.3
_SECONDS_AFTER_ERROR = 10.0

_log = logging.getLogger(__name__)


class FlowControl:
    """The rate limit of all writers of a process, in rows per second. Thread-safe."""

    def __init__(
        self,
        max_rows_per_second: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Start without a limit by Bigtable.

        Args:
            max_rows_per_second: the cap.
            clock: returns a time in seconds.
            sleep: waits for a number of seconds.
        """
        self._cap = max_rows_per_second
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._rate = _FIRST_RATE  # kept while Bigtable does not limit it
        self._limited = False
        self._next_change = 0.0
        self._next_start = 0.0

    @property
    def rows_per_second(self) -> float:
        """The largest rate of all writers together; infinite without a limit."""
        return min(self._cap, self._rate if self._limited else math.inf)

    def acquire(self, rows: int) -> float:
        """Wait until `rows` may be sent; return the seconds that this took."""
        with self._lock:
            rate = self.rows_per_second
            if rate == math.inf:
                return 0.0
            now = self._clock()
            start = max(now, self._next_start)
            self._next_start = start + rows / rate
        if start > now:
            self._sleep(start - now)
        return start - now

    def follow(self, response: Any) -> None:
        """Follow the rate limit in a response to MutateRows.

        A response without a limit lifts an earlier limit whose period has ended. The next limit starts at its rate.
        """
        info = response.rate_limit_info
        period = info.period.ToMilliseconds() / 1000
        with self._lock:
            if info.factor > 0 and period > 0:
                self._limited = True
                self._change(info.factor, period)
            elif self._clock() >= self._next_change:
                self._limited = False

    def back_off(self) -> None:
        """Lower the rate after an error by overload. If Bigtable does not limit it now, the next limit starts lower."""
        with self._lock:
            self._change(_SMALLEST_FACTOR, _SECONDS_AFTER_ERROR)

    def _change(self, factor: float, period: float) -> None:
        now = self._clock()
        if now < self._next_change:
            return
        capped = min(max(factor, _SMALLEST_FACTOR), _LARGEST_FACTOR)
        self._rate = min(max(self._rate * capped, _SLOWEST), _FASTEST)
        self._next_change = now + period
        _log.info(
            "the rate changes by the factor %.2f to %.0f rows/s from this worker; Bigtable limits it now: %s",
            capped,
            self._rate,
            self._limited,
        )
