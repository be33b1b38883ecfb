"""The rate limit of a worker process: Bigtable's batch write flow control, and a fixed cap.

A client that declares the feature gets a factor and a period in responses to MutateRows. It multiplies its rate by the
factor, and then leaves it unchanged for the period. The app profile has to route to a single cluster.

The constants are those of Google's Java client (https://github.com/googleapis/java-bigtable/pull/2243), which limits
requests per second. A request has 2,000 rows here.
"""

import base64
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

from google.cloud.bigtable_v2.types import FeatureFlags

FEATURES = (
    "bigtable-features",
    base64.urlsafe_b64encode(
        FeatureFlags.serialize(FeatureFlags(mutate_rows_rate_limit=True, mutate_rows_rate_limit2=True))
    ).decode(),
)
"""The request header with which the client declares that it follows the rate limit."""

_FIRST_RATE = 20_000.0  # rows/s
_SLOWEST, _FASTEST = 200.0, 200_000_000.0  # rows/s
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
        self._asked: float | None = None  # the rate that Bigtable asks for, if it does
        self._next_change = 0.0
        self._next_start = 0.0

    @property
    def rows_per_second(self) -> float:
        """The largest rate of all writers together; infinite without a limit."""
        return min(self._cap, self._asked or math.inf)

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

        A response without a limit lifts an earlier limit whose period has ended.
        """
        info = response.rate_limit_info
        period = info.period.ToMilliseconds() / 1000
        with self._lock:
            if info.factor and period:
                self._change(info.factor, period)
            elif self._clock() >= self._next_change:
                self._asked = None

    def back_off(self) -> None:
        """Lower the rate after an error by overload, if Bigtable limits it at all."""
        with self._lock:
            if self._asked is not None:
                self._change(_SMALLEST_FACTOR, _SECONDS_AFTER_ERROR)

    def _change(self, factor: float, period: float) -> None:
        now = self._clock()
        if self._asked is not None and now < self._next_change:
            return
        capped = min(max(factor, _SMALLEST_FACTOR), _LARGEST_FACTOR)
        self._asked = min(max((self._asked or _FIRST_RATE) * capped, _SLOWEST), _FASTEST)
        self._next_change = now + period
        _log.info("Bigtable changes the rate by the factor %.2f: %.0f rows/s from this worker", factor, self._asked)
