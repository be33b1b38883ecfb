"""Experiments with the service alone: slow reads, overload, several processes."""

import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving.candidates import FEAST, OURS, SERVICE_VARIABLES, Candidate, Question, candidates, official
from benchmarks.serving.measurement import Bench, Measurement
from benchmarks.serving.servers import Server, ServerSoftware, pinned, service
from local_stack.servers import running

SLOW_SHARE = 0.02
SLOW_SECONDS = 0.05
"""Share of the reads that are delayed, and their delay."""

HEDGE_BUDGETS = (0.0, 0.05)
"""The shares of hedged reads that the service may make."""

HEDGE_RATE = 200.0
"""Lookups per second, far below the capacity of the delaying proxy, so that only delayed reads are slow."""

CALL_MS, KEY_MS = 3.0, 0.3
"""The time of a read, and for each of its keys: what production reports of reads of many random rows."""

LATENCY_RATES = {
    "lookups": 200.0,
    "batches": 10.0,
    "large_batches": 2.0,
    "feast_lookups": 50.0,
    "feast_batches": 5.0,
}
"""Requests per second by kind, far below what the CPUs can do, so that only Bigtable's latency counts."""

SETTINGS = {"SERVING_MAX_KEYS_PER_READ": (1, 4, 8, 16, 32, 100), "SERVING_CONNECTIONS": (1, 2, 4, 8)}
"""The values of settings that are compared, one setting at a time."""

SETTINGS_RATE = 25.0
"""Lookups of 100 ids per second while settings are compared."""

WRITE_RATE = 5_000.0
"""Rows per second of a burst of writes, that leave the emulator some of its CPU."""

OURS_ON_OFFICIAL = f"{OURS}, official client"

OVERLOADS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
"""Loads, in multiples of the sustainable load."""

LATENCY_OBJECTIVE_MS = 100.0
"""Largest 99th percentile of a sustainable load."""

_HARSH_BIGTABLE = (sys.executable, "-W", "ignore", "-m", "benchmarks.serving.harsh_bigtable")
_REMEMBERED = 2_000  # entities that the proxy keeps, so that it takes little of the CPU
_ANSWERED_SHARE = 0.99  # of the requests of a sustainable load
_SHARES_OF_PEAK = (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
_HEDGE_RUN_LENGTH = 5  # in multiples of other runs, because the tail is measured
_HEDGE_WARM_UP_CONNECTIONS = 1  # with more, the service would learn latencies of another load
MOST_CONNECTIONS = 8_000
_SETTLE_SECONDS = 1.0  # for the server to end requests of the load before


@dataclass(frozen=True, slots=True)
class Hedging:
    """The result of a hedge budget on a Bigtable that delays random reads."""

    budget: float
    measurement: Measurement
    reads: float
    hedged_reads: float

    @property
    def hedged_share(self) -> float:
        """Hedged reads, divided by the reads that had to be made."""
        return self.hedged_reads / self.reads


@dataclass(frozen=True, slots=True)
class Overload:
    """The results of loads around the sustainable load, which is in lookups per second."""

    sustainable: float
    loads: tuple[tuple[float, Measurement], ...]

    @property
    def peak(self) -> float:
        """The highest goodput of all loads."""
        return max(measurement.result.per_second for _, measurement in self.loads)


def hedging(bench: Bench) -> list[Hedging]:
    """Measure lookups in a Bigtable that delays random reads, with each hedge budget, in an open loop."""
    longer = replace(bench, seconds=bench.seconds * _HEDGE_RUN_LENGTH)
    return [_hedged(longer, budget) for budget in HEDGE_BUDGETS]


def _hedged(bench: Bench, budget: float) -> Hedging:
    with _harsh_bigtable(bench, "--slow-share", str(SLOW_SHARE), "--slow-ms", str(SLOW_SECONDS * 1000)) as address:
        warm_up = Question("lookups", _HEDGE_WARM_UP_CONNECTIONS)
        variables = {**SERVICE_VARIABLES, "BIGTABLE_EMULATOR_HOST": address, "SERVING_HEDGE_BUDGET": str(budget)}
        with bench.running(Candidate(OURS, service(), "/readyz", (warm_up,), variables)) as server:
            reads, hedged_reads = _reads(server)
            measurement = bench.measure(server, OURS, Question("lookups", MOST_CONNECTIONS), HEDGE_RATE)
            reads_after, hedged_after = _reads(server)
    return Hedging(budget, measurement, reads_after - reads, hedged_after - hedged_reads)


def latencies(bench: Bench, software: ServerSoftware, feast: Path | None) -> list[tuple[float, Measurement]]:
    """Measure lookups, with their rates, on a Bigtable whose reads take as long as Google's, in an open loop.

    Args:
        bench: the test bench.
        software: the server that the application with the official client runs on.
        feast: the folder of Feast's feature repository; None to leave Feast out.
    """
    few = replace(bench, entities=min(bench.entities, _REMEMBERED))
    options = ("--call-ms", str(CALL_MS), "--key-ms", str(KEY_MS), "--remember")
    measured = []
    with _harsh_bigtable(bench, *options) as address:
        for candidate in _on_real_latencies(software, feast):
            variables = {**candidate.variables, "BIGTABLE_EMULATOR_HOST": address}
            # The largest batches first, so that the proxy has read all rows before anything is measured.
            warm_up = (candidate.questions[-1],)
            with few.running(replace(candidate, variables=variables, questions=warm_up)) as server:
                for question in candidate.questions:
                    rate = LATENCY_RATES[question.kind]
                    asked = Question(question.kind, MOST_CONNECTIONS)
                    measured.append((rate, few.measure(server, candidate.name, asked, rate)))
    return measured


def settings(bench: Bench) -> list[tuple[str, Measurement]]:
    """Measure lookups of 100 ids on real latencies, by keys per read and by connections; with the settings' names."""
    few = replace(bench, entities=min(bench.entities, _REMEMBERED))
    measured = []
    with _harsh_bigtable(bench, "--call-ms", str(CALL_MS), "--key-ms", str(KEY_MS), "--remember") as address:
        for name, values in SETTINGS.items():
            for value in values:
                variables = {**SERVICE_VARIABLES, "BIGTABLE_EMULATOR_HOST": address, name: str(value)}
                warm_up = (Question("large_batches", 1),)
                with few.running(Candidate(OURS, service(), "/readyz", warm_up, variables)) as server:
                    asked = Question("batches", MOST_CONNECTIONS)
                    measured.append((f"{name}={value}", few.measure(server, OURS, asked, SETTINGS_RATE)))
    return measured


def writes(bench: Bench, software: ServerSoftware, feast: Path | None) -> list[tuple[float, Measurement]]:
    """Measure lookups in an open loop, alone and during a burst of writes; with the rows written per second.

    Args:
        bench: the test bench.
        software: the server that the application with the official client runs on.
        feast: the folder of Feast's feature repository; None to leave Feast out.
    """
    measured = []
    for candidate in _on_real_latencies(software, feast):
        if candidate.name == OURS_ON_OFFICIAL:
            continue
        question = candidate.questions[0]
        with bench.running(candidate) as server:
            for rate in (0.0, WRITE_RATE):
                with bench.writing(rate):
                    asked = Question(question.kind, MOST_CONNECTIONS)
                    measured.append((rate, bench.measure(server, candidate.name, asked, LATENCY_RATES[question.kind])))
    return measured


def _on_real_latencies(software: ServerSoftware, feast: Path | None) -> list[Candidate]:
    """Foreserve on both of its clients of Bigtable, the official client in FastAPI, and Feast."""
    every = {candidate.name: candidate for candidate in candidates(software, 1, feast)}
    ours = replace(every[OURS], questions=tuple(Question(kind, 1) for kind in ("lookups", "batches", "large_batches")))
    on_official_client = {**ours.variables, "SERVING_BIGTABLE_CLIENT": "official"}
    made = [ours, replace(ours, name=OURS_ON_OFFICIAL, variables=on_official_client), every[official("async")]]
    return [*made, every[FEAST]] if feast else made


@contextmanager
def _harsh_bigtable(bench: Bench, *options: str) -> Iterator[str]:
    """A Bigtable that delays reads; yields its address."""
    with pinned(bench.cores.others):
        proxy = running(*_HARSH_BIGTABLE, bench.address, *options)
    with proxy as line:
        yield line.split()[-1]


def _reads(server: Server) -> tuple[float, float]:
    """The numbers of reads that the service had to make, and of hedged reads."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics") as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [sample for family in families for sample in family.samples]
    reads, hedged_reads = (
        sum(sample.value for sample in samples if sample.name == name)
        for name in ("foreserve_read_keys_count", "foreserve_hedged_reads_total")
    )
    return reads, hedged_reads


def overload(bench: Bench, connections: int) -> Overload:
    """Find the sustainable load of the service, and measure multiples of it in an open loop.

    Args:
        bench: the test bench.
        connections: the connections of the closed loop that finds the largest rate.
    """
    candidate = Candidate(OURS, service(), "/readyz", (Question("lookups", connections),), SERVICE_VARIABLES)
    with bench.running(candidate) as server:
        sustainable = sustainable_rate(bench, server, candidate.questions[0])
        loads = tuple((factor, _at_rate(bench, server, sustainable * factor)) for factor in OVERLOADS)
    return Overload(sustainable, loads)


def sustainable_rate(bench: Bench, server: Server, question: Question) -> float:
    """The largest share of the rate of a closed loop that is answered completely and in time, per second."""
    most = bench.measure(server, OURS, question).result.per_second
    for share in _SHARES_OF_PEAK:
        result = _at_rate(bench, server, most * share).result
        if result.in_time >= _ANSWERED_SHARE * result.sent and result.p99_ms < LATENCY_OBJECTIVE_MS:
            break
    return most * share


def _at_rate(bench: Bench, server: Server, rate: float) -> Measurement:
    time.sleep(_SETTLE_SECONDS)
    return bench.measure(server, OURS, Question("lookups", MOST_CONNECTIONS), rate)


def scaling(bench: Bench, workers: int, connections: int) -> Measurement:
    """Measure lookups in a service of several processes, which share all CPUs with the load and Bigtable."""
    question = Question("lookups", connections)
    candidate = Candidate(f"--workers {workers}", service(workers), "/readyz", (question,), SERVICE_VARIABLES)
    with bench.running(candidate, bench.cores.service | bench.cores.others) as server:
        return bench.measure(server, candidate.name, question)
