"""Measurements: each starts its server, warms it up, and puts load on it from another CPU."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import psutil

from benchmarks.serving.candidates import FEAST_PYTHON, READ_LOOP, Candidate, Question
from benchmarks.serving.load_generator import LoadOptions, LoadResult
from benchmarks.serving.servers import Cores, Server, pinned, serving
from benchmarks.serving.store import fill, store
from local_stack.servers import ROOT

_WARM_UP_SECONDS = 1.0
_OPEN_FILES = 16_384  # an open loop has thousands of connections


class WrongAnswersError(Exception):
    """A server gave wrong answers, so its speed does not matter."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of a load on a candidate.

    Attributes:
        candidate: the name of the candidate.
        question: the kind of requests, and the number of connections.
        result: the counts and latencies of the load generator.
        cpu_micros: user and system time of the server's processes per answer, in microseconds.
        service_busy: share of time in which the service's CPU was in use by any process.
        others_busy: the same for the other CPU. Near 1, the load generator or Bigtable was measured.
        memory_mib: the resident memory of the server's processes after the load.
    """

    candidate: str
    question: Question
    result: LoadResult
    cpu_micros: float
    service_busy: float
    others_busy: float
    memory_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class Bench:
    """The test bench: CPUs, a filled Bigtable, and the length of a run.

    Attributes:
        cores: the CPUs.
        entities: the number of entities in Bigtable.
        seconds: the length of a load.
        bigtable: the implementation of Bigtable.
        address: the address of Bigtable, HOST:PORT.
    """

    cores: Cores
    entities: int
    seconds: float
    bigtable: str
    address: str

    def measure(self, server: Server, candidate: str, question: Question, rate: float | None = None) -> Measurement:
        """Put load on a server that is running and warm.

        Args:
            server: the server.
            candidate: the name of the candidate.
            question: the kind of requests and the number of connections; in an open loop, the largest number.
            rate: requests per second of an open loop; None for a closed loop.

        Raises:
            WrongAnswersError: an answer was neither the expected one nor an error of the server.
        """
        load = LoadOptions(server.port, question.kind, self.entities, self.seconds, question.connections, rate)
        before, cpu = psutil.cpu_times(percpu=True), server.use().cpu_seconds
        result = self.run_load(load)
        used = server.use()
        if result.wrong:
            raise WrongAnswersError(f"{candidate}: {result.wrong} wrong answers, such as {result.example}")
        measurement = self._measurement(candidate, question, result, used.cpu_seconds - cpu, before)
        return replace(measurement, memory_mib=used.all_mib)

    @contextmanager
    def running(self, candidate: Candidate, cores: set[int] | None = None) -> Iterator[Server]:
        """Run a candidate, and warm it up."""
        with serving(
            candidate.command, candidate.ready_path, cores or self.cores.service, candidate.variables
        ) as server:
            question = candidate.questions[0]
            seconds = min(self.seconds, _WARM_UP_SECONDS)
            self.run_load(LoadOptions(server.port, question.kind, self.entities, seconds, question.connections))
            yield server

    def measure_all(self, candidate: Candidate) -> list[Measurement]:
        """Measure all questions to a candidate, in one run of its server."""
        with self.running(candidate) as server:
            return [self.measure(server, candidate.name, question) for question in candidate.questions]

    @contextmanager
    def writing(self, rate: float) -> Iterator[None]:
        """Write rows per second of a new version to Bigtable, from the other CPU, for as long as a load; none at 0."""
        if not rate:
            yield
            return
        arguments = (str(self.entities), str(self.seconds + _WARM_UP_SECONDS), str(rate))
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.serving.writes", *arguments]
        with pinned(self.cores.others):
            process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)  # noqa: S603  our own command
        yield
        if process.wait():
            raise RuntimeError("the writes beside the load failed")

    def read_loop(self) -> Measurement:
        """Measure the latency of bare reads, on the service's CPU."""
        before = psutil.cpu_times(percpu=True)
        with pinned(self.cores.service):
            printed = _json_of("benchmarks.serving.read_loop", str(self.entities), str(self.seconds))
        result = LoadResult(**printed)
        return self._measurement(READ_LOOP, Question("lookups", 1), result, result.load_cpu_seconds, before)

    def _measurement(
        self, candidate: str, question: Question, result: LoadResult, cpu_seconds: float, before: Sequence[Any]
    ) -> Measurement:
        busy = _busy(before, psutil.cpu_times(percpu=True))
        return Measurement(
            candidate,
            question,
            result,
            cpu_micros=cpu_seconds / max(1, result.answered) * 1e6,
            service_busy=_mean(busy, self.cores.service),
            others_busy=_mean(busy, self.cores.others),
        )

    def run_load(self, load: LoadOptions) -> LoadResult:
        """Run the load generator, on a CPU that the server does not use."""
        with pinned(self.cores.others):
            return LoadResult(**_json_of("benchmarks.serving.load_generator", json.dumps(asdict(load))))


def allow_open_files() -> None:
    """Let this process and its children have the connections of an open loop."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_OPEN_FILES if hard == resource.RLIM_INFINITY else min(_OPEN_FILES, hard), hard)
    )


@contextmanager
def bench(implementation: str, entities: int, seconds: float, versions: int = 1) -> Iterator[Bench]:
    """Start a Bigtable with predictions. This process and its children find it by `BIGTABLE_EMULATOR_HOST`.

    Args:
        implementation: auto, cbtemulator or embedded.
        entities: the number of entities.
        seconds: the length of a load.
        versions: the number of versions of each prediction.
    """
    cores = Cores.of_this_machine()
    with (
        store(implementation, cores.others) as bigtable,
        mock.patch.dict(os.environ, {"BIGTABLE_EMULATOR_HOST": bigtable.address}),
    ):
        fill(entities, versions)
        yield Bench(cores, entities, seconds, bigtable.implementation, bigtable.address)


@contextmanager
def feast_repository(entities: int) -> Iterator[Path]:
    """Make a feature repository of Feast, with features in the Bigtable at `BIGTABLE_EMULATOR_HOST`."""
    with TemporaryDirectory(prefix="foreserve-feast-") as folder:
        command: list[str | Path] = [
            FEAST_PYTHON,
            "-W",
            "ignore",
            "-m",
            "benchmarks.serving.feast_repository",
            folder,
            str(entities),
        ]
        subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603  our own command
        yield Path(folder)


def _json_of(module: str, *arguments: str) -> dict[str, Any]:
    """The JSON document that a module prints."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603  our own command
    document: dict[str, Any] = json.loads(finished.stdout)
    return document


def _busy(before: Sequence[Any], after: Sequence[Any]) -> dict[int, float]:
    """The share of time in which each CPU was not idle."""
    busy = {}
    for cpu, (start, end) in enumerate(zip(before, after, strict=True)):
        passed = [later - earlier for earlier, later in zip(start, end, strict=True)]
        idle = end.idle - start.idle
        busy[cpu] = 1 - idle / (sum(passed) or 1)
    return busy


def _mean(busy: Mapping[int, float], cores: set[int]) -> float:
    return sum(busy[core] for core in cores) / len(cores)
