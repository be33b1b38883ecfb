"""An export, simulated in steps of time: what the model leaves out, to see how much it matters.

Streams differ in size and are read by threads as these become free. A thread has a bounded number of rows in flight;
the threads of a process share its CPU and its pace. The rows go to nodes that take unequal shares of them and that
serve live reads first. The pace is either fixed, or follows Bigtable's flow control: it starts at a given rate and is
multiplied, once a period, by what brings the average CPU to the recommended one, within the limits of a step. How the
real server computes its factor is not published.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.scale.givens import Givens
from benchmarks.scale.model import Plan, process_rate, stream_rate, write_rate

STEP = 0.1
"""Seconds."""

STREAM_SPREAD = 0.3
"""Standard deviation of the logarithm of the streams' sizes."""

NODE_SPREAD = 0.1
"""The same of the nodes' shares of the rows."""

OVERLOAD = 0.9
"""Average CPU from which on seconds are counted as overload."""

NOTHING = 1e-6
"""Rows that are none, but for rounding."""

Pace = Literal["fixed", "flow control"]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """What came out: from the first row to the last."""

    seconds: float
    overload_seconds: float
    longest_queue: float  # seconds of work


def simulate(givens: Givens, planned: Plan, pace: Pace, seed: int = 0) -> Run:
    """Run an export as planned."""
    random = np.random.default_rng(seed)
    waiting = deque(_shares(random, planned.streams, STREAM_SPREAD) * planned.load.rows)
    node_shares = _shares(random, planned.nodes, NODE_SPREAD)
    node_rate = write_rate(givens, planned.nodes, cpu=1) / planned.nodes  # what live reads leave
    read_cpu = givens.chosen.live_reads / givens.bigtable.reads_per_node / planned.nodes

    threads = min(planned.streams, int(planned.processes * givens.dataflow.threads))
    process = np.arange(threads) % planned.processes
    limits = _Limits(givens, planned, pace, random)
    flow = stream_rate(givens) * STEP  # rows that a thread gets through in a step while nothing queues
    cpu_share = np.full(planned.processes, process_rate(givens, "ours") * STEP)

    left = np.array([waiting.popleft() for _ in range(threads)])
    unanswered = np.zeros(threads)
    queues = np.zeros(planned.nodes)
    now = overload = longest = 0.0
    while left.any() or queues.sum() > NOTHING:
        wanted = np.minimum(left, np.maximum(flow - unanswered, 0))
        allowed = np.minimum(cpu_share, limits.rates * STEP)
        asked = np.bincount(process, wanted, planned.processes)
        sent = wanted * np.minimum(1, allowed / np.maximum(asked, NOTHING))[process]
        left -= sent
        for thread in np.flatnonzero(left < NOTHING):
            left[thread] = waiting.popleft() if waiting else 0

        queues += sent.sum() * node_shares
        queued = queues.sum()
        written = np.minimum(queues, node_rate * STEP)
        queues -= written
        unanswered = (unanswered + sent) * (queues.sum() / queued if queued else 0)

        cpu = read_cpu + (1 - read_cpu) * written.sum() / (node_rate * STEP * planned.nodes)
        now += STEP
        overload += STEP * bool(cpu > OVERLOAD)
        longest = max(longest, float(queues.max()) / node_rate)
        limits.observe(now, cpu)
    return Run(now, overload, longest)


def _shares(random: np.random.Generator, parts: int, spread: float) -> Floats:
    sizes = random.lognormal(0, spread, parts)
    return np.asarray(sizes / sizes.sum())


class _Limits:
    """Rows/s that each process may send."""

    def __init__(self, givens: Givens, planned: Plan, pace: Pace, random: np.random.Generator) -> None:
        self._job = givens.job
        self._target = givens.bigtable.recommended_cpu
        self._period = givens.bigtable.flow_control_seconds
        self._follows = pace == "flow control"
        first = givens.job.first_rate if self._follows else planned.rate / planned.processes
        self.rates = np.full(planned.processes, float(first))
        # Processes do not start at the same moment.
        self._next_change = random.uniform(0.5, 1, planned.processes) * self._period
        self._cpu_then = np.zeros(planned.processes)
        self._time_then = np.zeros(planned.processes)
        self._cpu_seconds = 0.0

    def observe(self, now: float, cpu: float) -> None:
        """Take note of a step; change the rates of those processes whose period is over."""
        self._cpu_seconds += cpu * STEP
        due = now >= self._next_change
        if not self._follows or not due.any():
            return
        average = (self._cpu_seconds - self._cpu_then[due]) / (now - self._time_then[due])
        factor = np.clip(self._target / average, self._job.smallest_factor, self._job.largest_factor)
        self.rates[due] = np.maximum(self.rates[due] * factor, self._job.slowest_rate)
        self._next_change[due] = now + self._period
        self._cpu_then[due] = self._cpu_seconds
        self._time_then[due] = now
