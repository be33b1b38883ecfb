"""The runs: each starts its server anew, warms it, and puts load on it from another CPU."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import psutil

from benchmarks.serving.candidates import FEAST_PYTHON, READ_LOOP, Candidate, Question
from benchmarks.serving.cores import Cores, pinned
from benchmarks.serving.load import Load, LoadResult
from benchmarks.serving.servers import Server, serving
from benchmarks.serving.store import fill, store
from local_stack.servers import ROOT

_WARM_UP_SECONDS = 1.0


class WrongAnswersError(Exception):
    """A server answered otherwise than it should, so that how fast it did does not matter."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What came of a load on a candidate.

    Attributes:
        candidate: its name.
        question: what was asked, on how many connections.
        result: what the load counted.
        cpu_micros: user and system time of the server's processes, by answer.
        service_busy: share of the service's CPU that was in use, by whatever process.
        others_busy: the same of the other CPU; near 1, the load or Bigtable is what was measured.
    """

    candidate: str
    question: Question
    result: LoadResult
    cpu_micros: float
    service_busy: float
    others_busy: float


@dataclass(frozen=True, slots=True)
class Bench:
    """Where measurements are made.

    Attributes:
        cores: the CPUs.
        entities: how many Bigtable has.
        seconds: how long a load is put on.
        bigtable: which implementation of Bigtable is there.
        address: of that Bigtable.
    """

    cores: Cores
    entities: int
    seconds: float
    bigtable: str
    address: str

    def measure(self, server: Server, candidate: str, question: Question, rate: float | None = None) -> Measurement:
        """Put load on a server that is running and warm.

        Args:
            server: which.
            candidate: its name.
            question: what to ask, on how many connections; in an open loop, on how many at most.
            rate: requests a second of an open loop; None: a closed loop.

        Raises:
            WrongAnswersError: it answered with something else than what was asked for, or an error.
        """
        load = Load(server.port, question.kind, self.entities, self.seconds, question.connections, rate)
        before, cpu = psutil.cpu_times(percpu=True), server.cpu_seconds()
        result = self._put_on(load)
        cpu = server.cpu_seconds() - cpu
        if result.wrong:
            raise WrongAnswersError(f"{candidate}: {result.wrong} wrong answers, such as {result.example}")
        return self._measurement(candidate, question, result, cpu, before)

    @contextmanager
    def running(self, candidate: Candidate, cores: set[int] | None = None) -> Iterator[Server]:
        """A candidate that is running, and warm."""
        with serving(
            candidate.command, candidate.ready_path, cores or self.cores.service, candidate.variables
        ) as server:
            question = candidate.questions[0]
            self._put_on(
                Load(
                    server.port, question.kind, self.entities, min(self.seconds, _WARM_UP_SECONDS), question.connections
                )
            )
            yield server

    def measure_all(self, candidate: Candidate) -> list[Measurement]:
        """Everything that is measured of a candidate, in one process of it."""
        with self.running(candidate) as server:
            return [self.measure(server, candidate.name, question) for question in candidate.questions]

    def read_loop(self) -> Measurement:
        """The latency of bare reads, from the service's CPU."""
        before = psutil.cpu_times(percpu=True)
        with pinned(self.cores.service):
            found = _json_of("benchmarks.serving.read_loop", str(self.entities), str(self.seconds))
        result = LoadResult(**found)
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

    def _put_on(self, load: Load) -> LoadResult:
        with pinned(self.cores.others):
            return LoadResult(**_json_of("benchmarks.serving.load", json.dumps(asdict(load))))


@contextmanager
def bench(implementation: str, entities: int, seconds: float) -> Iterator[Bench]:
    """A Bigtable with predictions, which this process and its children find by its environment."""
    cores = Cores.of_this_machine()
    with (
        store(implementation, cores.others) as bigtable,
        mock.patch.dict(os.environ, {"BIGTABLE_EMULATOR_HOST": bigtable.address}),
    ):
        fill(entities)
        yield Bench(cores, entities, seconds, bigtable.implementation, bigtable.address)


@contextmanager
def feast_repository(entities: int) -> Iterator[Path]:
    """A feature repository of Feast, whose store is the Bigtable of the environment, filled."""
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
    """What a module prints."""
    command = [sys.executable, "-W", "ignore", "-m", module, *arguments]
    finished = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)  # noqa: S603  our own command
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def _busy(before: Sequence[Any], after: Sequence[Any]) -> dict[int, float]:
    """The share of the time in which each CPU was not idle."""
    busy = {}
    for cpu, (start, end) in enumerate(zip(before, after, strict=True)):
        passed = [later - earlier for earlier, later in zip(start, end, strict=True)]
        idle = end.idle - start.idle
        busy[cpu] = 1 - idle / (sum(passed) or 1)
    return busy


def _mean(busy: Mapping[int, float], cores: set[int]) -> float:
    return sum(busy[core] for core in cores) / len(cores)
