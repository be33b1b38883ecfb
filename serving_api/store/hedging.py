"""Hedging: a batch is read a second time if the first read is slow or failed, within a budget of keys.

A hedged read goes to another connection, so it helps if a connection, a front end or the network is slow (Dean and
Barroso, "The tail at scale", 2013). It cannot help if Bigtable's server of a row is slow: a cluster has one server for
each row, and a hedged read goes to the same one, unless an app profile for hedged reads routes to another cluster.
The budget keeps hedged reads from adding load while all of Bigtable is slow.
"""

from collections import defaultdict

_SAMPLES = 200
"""The number of reads from which a delay is computed."""

_QUANTILE = 0.95

_MAX_SAVED = 32.0
"""The number of keys that can be saved up: the longest burst of hedged reads, and the largest hedged read."""


class Hedging:
    """Decides when a read is hedged: after the 95th percentile of recent reads of its size, or when it failed.

    The time of a read grows with its keys, so reads are compared with those that have the same number of binary digits
    in their number of keys.
    """

    def __init__(self, budget: float) -> None:
        """Allow hedged reads.

        Args:
            budget: the number of keys in hedged reads per key, 0 to 1; 0 allows none.
        """
        self._budget = budget
        self._saved = _MAX_SAVED if budget else 0.0
        self._seconds: defaultdict[int, list[float]] = defaultdict(list)
        self._delays: dict[int, float] = {}

    def count_read(self, keys: int) -> None:
        """Add a read's share of keys to the budget."""
        self._saved = min(self._saved + keys * self._budget, _MAX_SAVED)

    def delay_seconds(self, keys: int) -> float | None:
        """The time after which a read of some keys is hedged; None while it is unknown."""
        return self._delays.get(keys.bit_length())

    def observe(self, keys: int, seconds: float) -> None:
        """Record the latency of a read."""
        size = keys.bit_length()
        samples = self._seconds[size]
        samples.append(seconds)
        if len(samples) == _SAMPLES:
            samples.sort()
            if self._budget:
                self._delays[size] = samples[int(_QUANTILE * _SAMPLES)]
            samples.clear()

    def spend(self, keys: int) -> bool:
        """Spend keys of the budget on a hedged read. Return False if the budget does not allow it."""
        if self._saved < keys:
            return False
        self._saved -= keys
        return True
