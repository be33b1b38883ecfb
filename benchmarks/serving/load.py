"""Puts load on a server and checks every answer, in a process of its own: `python -m benchmarks.serving.load JSON`.

A closed loop keeps a number of connections busy, each of which asks again once it was answered: it finds what a server
can do. An open loop asks when a request is due, whether or not earlier ones were answered, on as many connections as
that takes, and latency counts from then: it finds what users see when there is more load than the server can take.
"""

import asyncio
import gc
import json
import random
import re
import sys
import time
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import cast

import uvloop
from hdrh.histogram import HdrHistogram

from benchmarks.serving.exchanges import KINDS, Exchange

_LONGEST_MICROSECONDS = 60_000_000
_SIGNIFICANT_DIGITS = 3
_TICK_SECONDS = 0.001  # between two looks at what is due; uvloop's timers are no finer
_HEAD_END = b"\r\n\r\n"
_OK = b"HTTP/1.1 200 "
_STATUS = slice(9, 12)
_REFUSED = b"503"
_FAILED = b"5"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_EXAMPLE_BYTES = 500


@dataclass(frozen=True, slots=True)
class Load:
    """How much to ask, and of whom.

    Attributes:
        port: of the server, on this machine.
        kind: of the exchanges.
        entities: how many the server has.
        seconds: how long.
        connections: in a closed loop, how many; in an open one, how many at most.
        rate: requests a second of an open loop; None: a closed loop.
        patience: seconds after the end in which answers are still waited for.
        seed: of what is asked for, and when.
    """

    port: int
    kind: str
    entities: int
    seconds: float
    connections: int = 64
    rate: float | None = None
    patience: float = 5.0
    seed: int = 0


@dataclass(slots=True)
class LoadResult:
    """What came of it. Latencies, in milliseconds, are of the right answers, but for `refused_p99_ms`.

    Attributes:
        sent: requests.
        right: answers with status 200 and the expected body.
        refused: answers with status 503.
        failed: answers with another status of the server's errors.
        wrong: all other answers.
        dropped: requests whose connection was closed, that found none, or that were not answered within some
            seconds after the end.
        in_time: right answers that came before the end.
        seconds: how long requests were sent.
        load_cpu_seconds: what sending them took of this process; near `seconds`, the load is what was measured.
        example: the beginning of a wrong answer.
    """

    sent: int = 0
    right: int = 0
    refused: int = 0
    failed: int = 0
    wrong: int = 0
    dropped: int = 0
    in_time: int = 0
    seconds: float = 0.0
    load_cpu_seconds: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    max_ms: float = 0.0
    refused_p99_ms: float = 0.0
    example: str = ""

    @property
    def per_second(self) -> float:
        """Right answers in time, a second."""
        return self.in_time / self.seconds

    @property
    def answered(self) -> int:
        """All answers."""
        return self.right + self.refused + self.failed + self.wrong

    @property
    def not_right(self) -> float:
        """The share of the requests that were not answered rightly."""
        return 1 - self.right / self.sent


def run(load: Load) -> LoadResult:
    """Put the load on the server, and wait for the last answer.

    Raises:
        OSError: the server does not listen.
    """
    exchanges = KINDS[load.kind](load.entities)
    loop = _ClosedLoop(load, exchanges) if load.rate is None else _OpenLoop(load, exchanges, load.rate)
    gc.collect()
    gc.freeze()  # all exchanges, which collections would visit again and again
    cpu = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(loop.run())
    result.load_cpu_seconds = time.process_time() - cpu
    return result


class _Loop(ABC):
    """What both kinds of loop share: what is asked next, and what came of it."""

    def __init__(self, load: Load, exchanges: Sequence[Exchange]) -> None:
        self.result = LoadResult(seconds=load.seconds)
        self._load = load
        self._exchanges = exchanges
        self._chance = random.Random(load.seed)  # noqa: S311  the same in every run
        self._right = array("d")
        self._refused = array("d")
        self._outstanding = 0
        self._end = 0.0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> LoadResult:
        """Ask, wait for the answers, and count."""
        await self._ask_all()
        give_up = self._end + self._load.patience
        while self._outstanding and time.perf_counter() < give_up:  # noqa: ASYNC110  cheaper than an event for each
            await asyncio.sleep(_TICK_SECONDS)
        self.result.dropped += self._outstanding
        self.result.p50_ms, self.result.p99_ms, self.result.p999_ms, self.result.max_ms = percentiles(self._right)
        self.result.refused_p99_ms = percentiles(self._refused)[1]
        return self.result

    def count(self, since: float, status: bytes, *, right: bool) -> None:
        """Count an answer to a request of a time."""
        now = time.perf_counter()
        self._outstanding -= 1
        if right:
            self.result.right += 1
            self.result.in_time += now <= self._end
            self._right.append(now - since)
        elif status == _REFUSED:
            self.result.refused += 1
            self._refused.append(now - since)
        elif status.startswith(_FAILED):
            self.result.failed += 1
        else:
            self.result.wrong += 1

    def lost(self, *, asking: bool) -> None:
        """Count a connection that the server closed, and with it the request that was on it, if any."""
        if asking:
            self._outstanding -= 1
            self.result.dropped += 1
        self._replace()

    def _next(self) -> Exchange:
        return self._exchanges[int(self._chance.random() * len(self._exchanges))]

    def _ask(self, connection: "_Connection", since: float) -> None:
        self.result.sent += 1
        self._outstanding += 1
        connection.ask(self._next(), since)

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._load.port))[1]

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @abstractmethod
    async def _ask_all(self) -> None:
        """Ask until the end, which this sets."""

    @abstractmethod
    def free(self, connection: "_Connection") -> None:
        """Use a connection that was answered."""

    @abstractmethod
    def _replace(self) -> None:
        """Make up for a connection that is gone."""


class _ClosedLoop(_Loop):
    async def _ask_all(self) -> None:
        connections = [await self._connect() for _ in range(self._load.connections)]
        self._end = time.perf_counter() + self._load.seconds
        for connection in connections:
            self._ask(connection, time.perf_counter())
        await asyncio.sleep(self._load.seconds)

    def free(self, connection: "_Connection") -> None:
        now = time.perf_counter()
        if now < self._end:
            self._ask(connection, now)

    def _replace(self) -> None:
        self._start(self._ask_on_another())

    async def _ask_on_another(self) -> None:
        while time.perf_counter() < self._end:
            try:
                self.free(await self._connect())
            except OSError:
                await asyncio.sleep(_TICK_SECONDS)
            else:
                return


class _OpenLoop(_Loop):
    def __init__(self, load: Load, exchanges: Sequence[Exchange], rate: float) -> None:
        super().__init__(load, exchanges)
        self._rate = rate
        self._idle: list[_Connection] = []
        self._due: deque[float] = deque()  # the times of requests that wait for a connection
        self._connections = 0

    async def _ask_all(self) -> None:
        now = time.perf_counter()
        self._end = now + self._load.seconds
        due = now + self._chance.expovariate(self._rate)
        while (now := time.perf_counter()) < self._end:
            while due <= now:
                self._ask_or_wait(due)
                due += self._chance.expovariate(self._rate)
            await asyncio.sleep(_TICK_SECONDS)
        self.result.sent += len(self._due)
        self.result.dropped += len(self._due)
        self._due.clear()

    def _ask_or_wait(self, due: float) -> None:
        if self._idle:
            self._ask(self._idle.pop(), due)
            return
        self._due.append(due)
        self._open()

    def _open(self) -> None:
        if self._connections < self._load.connections:
            self._connections += 1
            self._start(self._opened())

    async def _opened(self) -> None:
        try:
            self.free(await self._connect())
        except OSError:
            self._connections -= 1
            if self._due:
                self._due.popleft()
                self.result.sent += 1
                self.result.dropped += 1

    def free(self, connection: "_Connection") -> None:
        if self._due:
            self._ask(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def _replace(self) -> None:
        self._connections -= 1
        self._idle = [connection for connection in self._idle if not connection.closed]
        if self._due:
            self._open()


class _Connection(asyncio.Protocol):
    """A connection that is kept alive: one request at a time."""

    __slots__ = ("_answer", "_loop", "_received", "_since", "_transport", "closed")

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._answer = b""  # the end of the head, and the body; empty: nothing was asked
        self._received = b""
        self._since = 0.0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, exchange: Exchange, since: float) -> None:
        """Send a request whose latency counts from a time."""
        self._answer = _HEAD_END + exchange.body
        self._since = since
        self._transport.write(exchange.request)

    def data_received(self, data: bytes) -> None:
        """Take what came; the usual case, an answer in one piece, is one look at both of its ends."""
        if self._received:
            data = self._received + data
        if self._answer and data.startswith(_OK) and data.endswith(self._answer):
            self._answer = self._received = b""
            self._loop.count(self._since, b"200", right=True)
            self._loop.free(self)
            return
        head, end, body = data.partition(_HEAD_END)
        length = _LENGTH.search(head)
        if not end or (length and len(body) < int(length[1])):
            self._received = data
        else:
            self._take_other(data, head[_STATUS], keep=bool(self._answer and length and not _CLOSES.search(head)))

    def _take_other(self, data: bytes, status: bytes, *, keep: bool) -> None:
        """Take an answer that is not the expected one, and the connection out of use if it cannot be kept."""
        if status != _REFUSED and not self._loop.result.example:
            self._loop.result.example = data[:_EXAMPLE_BYTES].decode(errors="replace")
        if self._answer:
            self._answer = self._received = b""
            self._loop.count(self._since, status, right=False)
        else:
            self._loop.result.wrong += 1
        if keep:
            self._loop.free(self)
        else:
            self._transport.abort()

    def connection_lost(self, _: Exception | None) -> None:
        self.closed = True
        self._loop.lost(asking=bool(self._answer))


def percentiles(seconds: Iterable[float]) -> tuple[float, float, float, float]:
    """The 50th, 99th, 99.9th and 100th percentile, in milliseconds; zeros if there is nothing."""
    histogram = HdrHistogram(1, _LONGEST_MICROSECONDS, _SIGNIFICANT_DIGITS)
    for latency in seconds:
        histogram.record_value(min(max(1, round(latency * 1e6)), _LONGEST_MICROSECONDS))
    p50, p99, p999, largest = (histogram.get_value_at_percentile(p) / 1000 for p in (50, 99, 99.9, 100))
    return p50, p99, p999, largest


def main() -> None:
    """Put the load given by the argument on a server; print what came of it as a line of JSON."""
    sys.stdout.write(json.dumps(asdict(run(Load(**json.loads(sys.argv[1]))))) + "\n")


if __name__ == "__main__":
    main()
