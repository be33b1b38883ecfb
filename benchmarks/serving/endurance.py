"""A long load on the service: `python -m benchmarks.serving.endurance [--minutes N] [--json FILE] [--write FILE]`.

It puts half of the sustainable load on the service, with a refresh every few minutes, then ten times the sustainable
load for a minute, and then the first load again. Like behind a load balancer, the requests share some hundred
connections, and those that wait for one longer than a second are given up. All along, some clients send a byte a
second, and others read no answer.
"""

import json
import socket
import sys
import threading
import time
import warnings
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import median
from textwrap import fill

from benchmarks.charts import Axes, Line, line_chart, svg
from benchmarks.document import filled, markdown_table, short
from benchmarks.serving.candidates import OURS, SERVICE_VARIABLES, Candidate, Question
from benchmarks.serving.exchanges import LARGE_BATCH, large_batches, lookups
from benchmarks.serving.experiments import LATENCY_OBJECTIVE_MS, sustainable_rate
from benchmarks.serving.load_generator import LoadOptions
from benchmarks.serving.measurement import Bench, WrongAnswersError, allow_open_files, bench
from benchmarks.serving.servers import Server, pinned, service
from benchmarks.serving.store import refresh

SHARE, OVERLOAD = 0.5, 10.0
"""The loads, in multiples of the sustainable one."""

PLOT = "serving-endurance.svg"
_WINDOW_SECONDS, _RECOVERY_SECONDS, _LONGEST_RECOVERY_SECONDS = 10.0, 1.0, 120.0
_NOT_RIGHT = 0.01
_CONNECTIONS = 64  # of the closed loop that finds the largest rate
_POOL = 800  # connections of the loads; with the odd clients less than SERVING_MAX_CONNECTIONS
_LONGEST_WAIT_SECONDS = 1.0  # for a connection
_ODD_CLIENTS = 100
_VERSIONS = 8  # more than Bigtable keeps; with fewer, its reads would get slower with each refresh
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Sample:
    """A window of the load, and the service in its middle.

    Attributes:
        phase: `load`, `overload` or `after`.
        seconds: the time from the beginning to the middle of the window.
        refused: the share of requests that were answered with 503.
        not_right: the share of requests without a right answer.
        p99_ms: the 99th percentile of right answers.
        rss_mib: resident memory of all processes of the service.
        files: open files of these, sockets included.
        connections: connections of these, with clients and with Bigtable.
    """

    phase: str
    seconds: float
    refused: float
    not_right: float
    p99_ms: float
    rss_mib: float
    files: int
    connections: int


@dataclass(slots=True)
class Endurance:
    """The result of a long load.

    Attributes:
        sustainable: the sustainable load in lookups a second.
        refreshes: the number of refreshes during the load.
        recovery_seconds: the time after the overload until 99% of a second's lookups were right and within the
            objective.
        samples: all windows.
    """

    sustainable: float
    refreshes: int = 0
    recovery_seconds: float = 0.0
    samples: list[Sample] = field(default_factory=list)

    def of(self, phase: str) -> list[Sample]:
        """The windows of a phase."""
        return [sample for sample in self.samples if sample.phase == phase]


@dataclass(frozen=True, slots=True)
class _Load:
    """Puts load on the service, window by window, and adds a sample of each to the result."""

    at: Bench
    server: Server
    result: Endurance
    began: float

    def window(self, phase: str, factor: float, seconds: float) -> Sample:
        """Put a multiple of the sustainable load on the service.

        Raises:
            WrongAnswersError: an answer was neither a right one nor an error of the service.
        """
        began, rate = time.monotonic(), factor * self.result.sustainable
        load = LoadOptions(self.server.port, "lookups", self.at.entities, seconds, _POOL, rate)
        seed = len(self.result.samples)
        load = replace(load, longest_wait=_LONGEST_WAIT_SECONDS, seed=seed, any_version=True)
        if phase == "overload":
            load = replace(load, patience=0.0)  # so that the next load follows at once
        with ThreadPoolExecutor() as executor:
            loading = executor.submit(self.at.run_load, load)
            time.sleep(seconds / 2)
            rss_mib, files, connections = self._open()
            result = loading.result()
        if result.wrong:
            raise WrongAnswersError(f"{result.wrong} wrong answers, such as {result.example}")
        middle, refused = began - self.began + seconds / 2, result.refused / result.sent
        sample = Sample(phase, middle, refused, result.not_right, result.p99_ms, rss_mib, files, connections)
        self.result.samples.append(sample)
        return sample

    def _open(self) -> tuple[float, int, int]:
        """Memory in MiB, open files and connections of all processes of the service."""
        processes = [self.server.process, *self.server.process.children(recursive=True)]
        memory = sum(process.memory_info().rss for process in processes) / _MIB
        files = sum(process.num_fds() for process in processes)
        return memory, files, sum(len(process.net_connections("tcp")) for process in processes)


def endure(at: Bench, minutes: float, refresh_minutes: float, overload_seconds: float) -> Endurance:
    """Put a long load on the service.

    Args:
        at: the test bench; its loads are as long as the windows.
        minutes: the length of the load.
        refresh_minutes: the time between two refreshes.
        overload_seconds: the length of the overload.

    Raises:
        WrongAnswersError: an answer was neither a right one nor an error of the service.
    """
    question = Question("lookups", _CONNECTIONS)
    with at.running(Candidate(OURS, service(), "/readyz", (question,), SERVICE_VARIABLES)) as server:
        load = _Load(at, server, Endurance(sustainable_rate(at, server, question)), time.monotonic())
        refreshes = _refreshes(load.result, at.entities, refresh_minutes * 60)
        with pinned(at.cores.others), _odd_clients(server.port), refreshes:
            load.window("load", SHARE, at.seconds)
            while time.monotonic() < load.began + minutes * 60:
                load.window("load", SHARE, at.seconds)
            end = time.monotonic() + overload_seconds
            while (left := end - time.monotonic()) > 0:
                load.window("overload", OVERLOAD, min(at.seconds, max(_RECOVERY_SECONDS, left)))
            ended = time.monotonic()
            while not _is_good(load.window("after", SHARE, min(at.seconds, _RECOVERY_SECONDS))):
                if time.monotonic() - ended > _LONGEST_RECOVERY_SECONDS:
                    break
            load.result.recovery_seconds = time.monotonic() - ended
            for _ in range(3):
                load.window("after", SHARE, at.seconds)
    return load.result


def _is_good(sample: Sample) -> bool:
    return sample.not_right <= _NOT_RIGHT and sample.p99_ms <= LATENCY_OBJECTIVE_MS


@contextmanager
def _refreshes(result: Endurance, entities: int, seconds: float) -> Iterator[None]:
    """Make a refresh every so many seconds, which writes all predictions anew."""
    stop = threading.Event()

    def make() -> None:
        while not stop.wait(seconds):
            refresh(entities, time.time_ns() // 1_000_000)
            result.refreshes += 1

    with ThreadPoolExecutor() as executor:
        made = executor.submit(make)
        try:
            yield
        finally:
            stop.set()
        made.result()


@contextmanager
def _odd_clients(port: int) -> Iterator[None]:
    """Clients that send a byte a second, half of which first ask for a large batch and never read its answer.

    Two connect in a second, also after the service closed connections.
    """
    stop, slow, large = threading.Event(), lookups(1)[0].request, large_batches(LARGE_BATCH)[0].request

    def connect() -> None:
        clients: dict[socket.socket, bytes] = {}
        while not stop.wait(1):
            for first in (b"", large)[: _ODD_CLIENTS - len(clients)]:
                with suppress(OSError):
                    client = socket.create_connection(("127.0.0.1", port), 1)
                    client.sendall(first)
                    clients[client] = slow
            for client, unsent in [*clients.items()]:
                try:
                    clients[client] = unsent[client.send(unsent[:1]) :] or slow
                except OSError:
                    client.close()
                    del clients[client]
        for client in clients:
            client.close()

    with ThreadPoolExecutor() as executor:
        connected = executor.submit(connect)
        try:
            yield
        finally:
            stop.set()
        connected.result()


def table(result: Endurance) -> str:
    """The figures in Markdown: the first and the last tenth of the load, the overload, and the time after."""
    loaded = result.of("load")
    tenth = max(1, len(loaded) // 10)
    rows = [
        ("begin of the load", loaded[:tenth]),
        ("end of the load", loaded[-tenth:]),
        (f"{OVERLOAD:g} times the sustainable load", result.of("overload")),
        ("after that", result.of("after")[-3:]),
    ]
    heads = ("", "accepted p99", "refused", "no right answer", "memory", "files", "connections")
    cells = [
        (
            name,
            f"{short(_median(samples, 'p99_ms'))} ms",
            f"{_median(samples, 'refused'):.1%}",
            f"{_median(samples, 'not_right'):.2%}",
            f"{short(_median(samples, 'rss_mib'))} MiB",
            short(_median(samples, "files")),
            short(_median(samples, "connections")),
        )
        for name, samples in rows
    ]
    in_overload = OVERLOAD * result.sustainable * (1 - _median(result.of("overload"), "not_right"))
    text = (
        f"{loaded[-1].seconds / 60:.0f} minutes at {short(SHARE * result.sustainable)} lookups/s, half of the "
        f"sustainable load, with {result.refreshes} refreshes and {_ODD_CLIENTS} slow or dead clients. Under overload, "
        f"requests wait up to {_LONGEST_WAIT_SECONDS:g} s for one of {_POOL} connections, and {short(in_overload)} "
        f"lookups/s were right. After that, lookups were right and in time within {result.recovery_seconds:.1f} s."
    )
    return f"{fill(text, 120)}\n\n{markdown_table(heads, cells, '---:')}\n\n![The service under load for long]({PLOT})"


def plot(samples: Sequence[Sample]) -> str:
    """Charts by minute: the 99th percentile, memory, and what the service has open."""
    charts = (
        ("p99 in ms", {"accepted p99": "p99_ms"}),
        ("MiB", {"resident memory": "rss_mib"}),
        ("open", {"files": "files", "connections": "connections"}),
    )
    drawn = []
    for unit, names in charts:
        points = {name: [(each.seconds / 60, getattr(each, key)) for each in samples] for name, key in names.items()}
        drawn.append(line_chart(Axes(unit, "minutes"), [Line(*line) for line in points.items()]))
    return svg("The service under load for long: latency, memory, open files", *drawn)


def _median(samples: Sequence[Sample], name: str) -> float:
    return float(median(getattr(sample, name) for sample in samples))


def main() -> None:
    """Run the command. Exits with an error if the service gives a wrong answer."""
    parser = ArgumentParser(prog="python -m benchmarks.serving.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="length of the load (default %(default)s)")
    parser.add_argument("--refresh-minutes", type=float, default=3, help="between refreshes (default %(default)s)")
    parser.add_argument("--overload-seconds", type=float, default=60, help="length of ten times the load (%(default)s)")
    parser.add_argument("--entities", type=int, default=10_000, help="entities in Bigtable (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all windows to FILE")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="document whose marked table is replaced; the plot goes beside it"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", "Connecting to Bigtable emulator")
    allow_open_files()
    try:
        with bench("auto", arguments.entities, _WINDOW_SECONDS, _VERSIONS) as at:
            result = endure(at, arguments.minutes, arguments.refresh_minutes, arguments.overload_seconds)
    except WrongAnswersError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{table(result)}\n")
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(result), indent=1) + "\n")
    if arguments.write:
        arguments.write.write_text(filled(arguments.write.read_text(), "serving", {"endurance": table(result)}))
        arguments.write.with_name(PLOT).write_text(plot(result.samples))


if __name__ == "__main__":
    main()
