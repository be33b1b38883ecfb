"""Hedging: a batch is read a second time if the first read is slow or failed, within a budget.

A hedged read goes to another connection, and so probably to another server, which removes the latency that a single
slow server causes (Dean and Barroso, "The tail at scale", 2013). The budget keeps hedged reads from adding load while
all of Bigtable is slow.
"""

from serving_api.telemetry.metrics import Metrics

_SAMPLES = 500
"""The number of reads from which the delay is computed."""

_QUANTILE = 0.95

_MAX_SAVED = 10.0
"""The number of hedged reads that can be saved up, and so the longest burst of them."""


class Hedging:
    """Decides when a read is hedged: after the 95th percentile of recent latencies, or when it failed."""

    def __init__(self, budget: float, metrics: Metrics) -> None:
        """Allow hedged reads.

        Args:
            budget: the number of hedged reads per read, 0 to 1; 0 allows none.
            metrics: counts hedged reads.
        """
        self._budget = budget
        self._metrics = metrics
        self._saved = _MAX_SAVED if budget else 0.0
        self._seconds: list[float] = []
        self.delay_seconds: float | None = None
        """The time after which a read is hedged: the 95th percentile of recent reads. None while it is unknown."""

    def count_read(self) -> None:
        """Add the share of one read to the budget."""
        self._saved = min(self._saved + self._budget, _MAX_SAVED)

    def observe(self, seconds: float) -> None:
        """Record the latency of a read."""
        self._seconds.append(seconds)
        if len(self._seconds) == _SAMPLES:
            self._seconds.sort()
            self.delay_seconds = self._seconds[int(_QUANTILE * _SAMPLES)] if self._budget else None
            self._seconds.clear()

    def spend(self) -> bool:
        """Spend one hedged read of the budget, and count it. Return False if the budget does not allow one."""
        if self._saved < 1:
            return False
        self._saved -= 1
        self._metrics.hedged_reads.inc()
        return True

    def count_won(self) -> None:
        """Count a hedged read that gave the answer."""
        self._metrics.hedged_reads_won.inc()
