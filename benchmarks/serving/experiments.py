"""What the service alone is put through: slow reads, more load than it can take, more processes."""

import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving.candidates import OURS, SERVICE_VARIABLES, Candidate, Question
from benchmarks.serving.cores import pinned
from benchmarks.serving.measurement import Bench, Measurement
from benchmarks.serving.servers import Server, service
from local_stack.servers import running

SLOW_SHARE = 0.02
SLOW_SECONDS = 0.05
"""How many reads of the Bigtable that is slow at random take how much more."""

HEDGE_BUDGETS = (0.0, 0.05)
"""The shares of extra reads that the service may make."""

HEDGE_RATE = 200.0
"""Lookups a second: far from what the stand-in can pass on, so that only the reads held back are slow."""

OVERLOADS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
"""Loads, in multiples of the sustainable one."""

LATENCY_OBJECTIVE_MS = 100.0
"""What a 99th percentile must stay below for a load to be sustainable."""

_STAND_IN = (sys.executable, "-W", "ignore", "-m", "benchmarks.serving.slow_bigtable")
_ANSWERED_SHARE = 0.99  # of a sustainable load
_SHARES_OF_PEAK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
_HEDGE_RUN_LENGTH = 5  # times that of other runs, as the tail is what is measured
_HEDGE_WARM_UP_CONNECTIONS = 1  # more would have the service learn another latency than it will see
_MOST_CONNECTIONS = 8_000
_SETTLE_SECONDS = 1.0  # for a server to get over what clients have given up


@dataclass(frozen=True, slots=True)
class Hedging:
    """What a budget for extra reads came to, on a Bigtable that is slow at random."""

    budget: float
    measurement: Measurement
    reads: float
    extra_reads: float

    @property
    def extra_share(self) -> float:
        """Extra reads by read that had to be made."""
        return self.extra_reads / self.reads


@dataclass(frozen=True, slots=True)
class Overload:
    """What came of loads around the sustainable one, in lookups a second."""

    sustainable: float
    loads: tuple[tuple[float, Measurement], ...]

    @property
    def peak(self) -> float:
        """The most right answers a second of any load."""
        return max(measurement.result.per_second for _, measurement in self.loads)


def hedging(bench: Bench) -> list[Hedging]:
    """Look up in a Bigtable that is slow at random, with each budget, in an open loop."""
    longer = replace(bench, seconds=bench.seconds * _HEDGE_RUN_LENGTH)
    return [_hedged(longer, budget) for budget in HEDGE_BUDGETS]


def _hedged(bench: Bench, budget: float) -> Hedging:
    with _slow_bigtable(bench) as address:
        warm_up = Question("lookups", _HEDGE_WARM_UP_CONNECTIONS)
        variables = {**SERVICE_VARIABLES, "BIGTABLE_EMULATOR_HOST": address, "SERVING_HEDGE_BUDGET": str(budget)}
        with bench.running(Candidate(OURS, service(), "/readyz", (warm_up,), variables)) as server:
            reads, extra_reads = _reads(server)
            measurement = bench.measure(server, OURS, Question("lookups", _MOST_CONNECTIONS), HEDGE_RATE)
            reads_after, extra_after = _reads(server)
    return Hedging(budget, measurement, reads_after - reads, extra_after - extra_reads)


@contextmanager
def _slow_bigtable(bench: Bench) -> Iterator[str]:
    """The address of a Bigtable that is slow at random."""
    arguments = (bench.address, str(SLOW_SHARE), str(SLOW_SECONDS))
    with pinned(bench.cores.others):
        stand_in = running(*_STAND_IN, *arguments)
    with stand_in as line:
        yield line.split()[-1]


def _reads(server: Server) -> tuple[float, float]:
    """The reads that the service had to make, and those that it made a second time."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [sample for family in families for sample in family.samples]
    reads, extra_reads = (
        sum(sample.value for sample in samples if sample.name == name)
        for name in ("foreserve_read_keys_count", "foreserve_hedged_reads_total")
    )
    return reads, extra_reads


def overload(bench: Bench, connections: int) -> Overload:
    """Find the load that the service sustains, and put multiples of it on it, in an open loop.

    Args:
        bench: where.
        connections: on which a closed loop finds the most that it can do.
    """
    candidate = Candidate(OURS, service(), "/readyz", (Question("lookups", connections),), SERVICE_VARIABLES)
    with bench.running(candidate) as server:
        most = bench.measure(server, OURS, candidate.questions[0]).result.per_second
        sustainable = _sustainable(bench, server, most)
        loads = tuple((factor, _at_rate(bench, server, sustainable * factor)) for factor in OVERLOADS)
    return Overload(sustainable, loads)


def _sustainable(bench: Bench, server: Server, most: float) -> float:
    """The largest of some shares of a rate that is answered whole and in time."""
    for share in _SHARES_OF_PEAK:
        result = _at_rate(bench, server, most * share).result
        if result.in_time >= _ANSWERED_SHARE * result.sent and result.p99_ms < LATENCY_OBJECTIVE_MS:
            break
    return most * share


def _at_rate(bench: Bench, server: Server, rate: float) -> Measurement:
    time.sleep(_SETTLE_SECONDS)
    return bench.measure(server, OURS, Question("lookups", _MOST_CONNECTIONS), rate)


def scaling(bench: Bench, workers: int, connections: int) -> Measurement:
    """Look up in a service of several processes, which may use all CPUs, those of the load and of Bigtable too."""
    question = Question("lookups", connections)
    candidate = Candidate(f"--workers {workers}", service(workers), "/readyz", (question,), SERVICE_VARIABLES)
    with bench.running(candidate, bench.cores.service | bench.cores.others) as server:
        return bench.measure(server, candidate.name, question)
