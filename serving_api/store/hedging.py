"""When to read a second time: after most reads have ended, or when one has failed; and only so often.

Reads whose answers are late because of one slow server are saved by asking another one (Dean and Barroso, "The tail at
scale", 2013). The budget keeps that from adding load when all of Bigtable is slow.
"""

from serving_api.telemetry.metrics import Metrics

_SAMPLES = 500
"""How many reads the delay is derived from."""

_QUANTILE = 0.95
_SAVED = 10.0
"""How many second reads may be saved up for a bad moment."""


class SecondReads:
    """Knows how long reads take, and how many may be made a second time."""

    def __init__(self, budget: float, metrics: Metrics) -> None:
        """Allow second reads.

        Args:
            budget: as a share of the reads; 0: none.
            metrics: where they are counted.
        """
        self._budget = budget
        self._metrics = metrics
        self._tokens = _SAVED if budget else 0.0
        self._seconds: list[float] = []
        self.delay_seconds: float | None = None
        """How long to wait before reading a second time: the 95th percentile of late; None: not known yet."""

    def note_read(self) -> None:
        """Take note of a read."""
        self._tokens = min(self._tokens + self._budget, _SAVED)

    def note_seconds(self, seconds: float) -> None:
        """Take note of the time that a read took."""
        self._seconds.append(seconds)
        if len(self._seconds) == _SAMPLES:
            self._seconds.sort()
            self.delay_seconds = self._seconds[int(_QUANTILE * _SAMPLES)] if self._budget else None
            self._seconds.clear()

    def take(self) -> bool:
        """Whether a second read may be made; if so, it counts as made."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        self._metrics.hedged_reads.inc()
        return True

    def note_won(self) -> None:
        """Take note that a second read gave the answer."""
        self._metrics.hedged_reads_won.inc()
