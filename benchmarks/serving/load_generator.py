"""The load generator, in a process of its own: `python -m benchmarks.serving.load_generator JSON`.

It checks every answer. In a closed loop, each of a fixed number of connections sends its next request after an answer:
that finds the capacity of a server. In an open loop, requests are sent when they are due, whether or not earlier ones
were answered, on as many connections as that takes. Latency counts from the time at which a request was due: that is
what users see under overload.
"""

import asyncio
import gc
import json
import math
import random
import re
import sys
import time
from abc import ABC, abstractmethod
from array import array
from collections import deque
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import cast

import uvloop
from hdrh.histogram import HdrHistogram

from benchmarks.serving.exchanges import KINDS, Exchange

_LONGEST_MICROSECONDS = 60_000_000
_SIGNIFICANT_DIGITS = 3
_TICK_SECONDS = 0.001  # the resolution of uvloop's timers
_HEAD_END = b"\r\n\r\n"
_OK = b"HTTP/1.1 200 "
_STATUS = slice(9, 12)
_REFUSED = b"503"
_FAILED = b"5"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_EXAMPLE_BYTES = 500


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """A load on a server.

    Attributes:
        port: the server's port on this machine.
        kind: the kind of exchanges.
        entities: the number of entities that the server has.
        seconds: the length of the load.
        connections: the number of connections; in an open loop, the largest number.
        rate: requests per second of an open loop; None for a closed loop.
        patience: seconds after the end in which answers are still counted.
        longest_wait: seconds for which a request of an open loop waits for a connection; then it is dropped.
        seed: the seed of random ids and times.
        any_version: lookups of any version are right if the prediction is.
    """

    port: int
    kind: str
    entities: int
    seconds: float
    connections: int = 64
    rate: float | None = None
    patience: float = 5.0
    longest_wait: float = math.inf
    seed: int = 0
    any_version: bool = False


@dataclass(slots=True)
class LoadResult:
    """The result of a load. Latencies are those of right answers, except `refused_p99_ms`.

    Attributes:
        sent: requests.
        right: answers with status 200 and the expected body.
        refused: answers with status 503.
        failed: answers with another 5xx status.
        wrong: all other answers.
        dropped: requests without a connection in time, with a closed connection, or without an answer within the
            patience.
        in_time: right answers before the end.
        seconds: the time in which requests were sent.
        load_cpu_seconds: CPU time of the load generator. Near `seconds`, the load generator was measured.
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
        """Right answers in time, per second."""
        return self.in_time / self.seconds

    @property
    def answered(self) -> int:
        """All answers."""
        return self.right + self.refused + self.failed + self.wrong

    @property
    def not_right(self) -> float:
        """The share of requests without a right answer."""
        return 1 - self.right / self.sent


def run(load: LoadOptions) -> LoadResult:
    """Put load on the server, and wait for the last answer.

    Raises:
        OSError: the server does not listen.
    """
    exchanges = [replace(each, body=_ending(each.body, load)) for each in KINDS[load.kind](load.entities)]
    loop = _ClosedLoop(load, exchanges) if load.rate is None else _OpenLoop(load, exchanges, load.rate)
    gc.collect()
    gc.freeze()  # collections skip the exchanges
    cpu = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(loop.run())
    result.load_cpu_seconds = time.process_time() - cpu
    return result


def _ending(body: bytes, load: LoadOptions) -> bytes:
    """The bytes with which a right answer ends."""
    _, member, prediction = body.partition(b',"prediction":')
    return member + prediction if load.any_version else _HEAD_END + body


class _Loop(ABC):
    """Base of both loops: chooses requests, and counts answers."""

    def __init__(self, load: LoadOptions, exchanges: Sequence[Exchange]) -> None:
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
        """Send all requests, wait for the answers, and count them."""
        await self._send_all()
        deadline = self._end + self._load.patience
        while self._outstanding and time.perf_counter() < deadline:  # noqa: ASYNC110  cheaper than an event for each
            await asyncio.sleep(_TICK_SECONDS)
        self.result.dropped += self._outstanding
        self.result.p50_ms, self.result.p99_ms, self.result.p999_ms, self.result.max_ms = percentiles(self._right)
        self.result.refused_p99_ms = percentiles(self._refused)[1]
        return self.result

    def count(self, since: float, status: bytes, *, right: bool) -> None:
        """Count an answer to a request that was due at the time `since`."""
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

    def lost(self, *, pending: bool) -> None:
        """Replace a connection that the server closed, and count its pending request, if there is one."""
        if pending:
            self._outstanding -= 1
            self.result.dropped += 1
        self._replace()

    def _next(self) -> Exchange:
        return self._exchanges[int(self._chance.random() * len(self._exchanges))]

    def _send(self, connection: "_Connection", since: float) -> None:
        self.result.sent += 1
        self._outstanding += 1
        connection.send(self._next(), since)

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._load.port))[1]

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @abstractmethod
    async def _send_all(self) -> None:
        """Send requests until the end, which this method sets."""

    @abstractmethod
    def free(self, connection: "_Connection") -> None:
        """Use a connection that has no pending request."""

    @abstractmethod
    def _replace(self) -> None:
        """Replace a connection that was closed."""


class _ClosedLoop(_Loop):
    async def _send_all(self) -> None:
        connections = [await self._connect() for _ in range(self._load.connections)]
        self._end = time.perf_counter() + self._load.seconds
        for connection in connections:
            self._send(connection, time.perf_counter())
        await asyncio.sleep(self._load.seconds)

    def free(self, connection: "_Connection") -> None:
        now = time.perf_counter()
        if now < self._end:
            self._send(connection, now)

    def _replace(self) -> None:
        self._start(self._send_on_another())

    async def _send_on_another(self) -> None:
        while time.perf_counter() < self._end:
            try:
                self.free(await self._connect())
            except OSError:
                await asyncio.sleep(_TICK_SECONDS)
            else:
                return


class _OpenLoop(_Loop):
    def __init__(self, load: LoadOptions, exchanges: Sequence[Exchange], rate: float) -> None:
        super().__init__(load, exchanges)
        self._rate = rate
        self._idle: list[_Connection] = []
        self._due: deque[float] = deque()  # the times of requests that wait for a connection
        self._connections = 0

    async def _send_all(self) -> None:
        now = time.perf_counter()
        self._end = now + self._load.seconds
        due = now + self._chance.expovariate(self._rate)
        while (now := time.perf_counter()) < self._end:
            while due <= now:
                self._send_or_wait(due)
                due += self._chance.expovariate(self._rate)
            await asyncio.sleep(_TICK_SECONDS)
        while self._due:
            self._drop()

    def _send_or_wait(self, due: float) -> None:
        if self._idle:
            self._send(self._idle.pop(), due)
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
                self._drop()

    def free(self, connection: "_Connection") -> None:
        longest_ago = time.perf_counter() - self._load.longest_wait
        while self._due and self._due[0] < longest_ago:
            self._drop()
        if self._due:
            self._send(connection, self._due.popleft())
        else:
            self._idle.append(connection)

    def _drop(self) -> None:
        """Drop the request that has waited for a connection the longest."""
        self._due.popleft()
        self.result.sent += 1
        self.result.dropped += 1

    def _replace(self) -> None:
        self._connections -= 1
        self._idle = [connection for connection in self._idle if not connection.closed]
        if self._due:
            self._open()


class _Connection(asyncio.Protocol):
    """A connection that stays open, with one request at a time."""

    __slots__ = ("_answer", "_loop", "_received", "_since", "_transport", "closed")

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._answer = b""  # the end of the expected answer; empty without a pending request
        self._received = b""
        self._since = 0.0
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, exchange: Exchange, since: float) -> None:
        """Send a request whose latency counts from the time `since`."""
        self._answer = exchange.body
        self._since = since
        self._transport.write(exchange.request)

    def data_received(self, data: bytes) -> None:
        """Take the received bytes. The usual case, a right answer in one piece, needs two comparisons."""
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
        """Count an unexpected answer. Close the connection if it cannot be used again."""
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
        self._loop.lost(pending=bool(self._answer))


def percentiles(seconds: Iterable[float]) -> tuple[float, float, float, float]:
    """The 50th, 99th, 99.9th and 100th percentile in milliseconds; zeros without latencies."""
    histogram = HdrHistogram(1, _LONGEST_MICROSECONDS, _SIGNIFICANT_DIGITS)
    for latency in seconds:
        histogram.record_value(min(max(1, round(latency * 1e6)), _LONGEST_MICROSECONDS))
    p50, p99, p999, largest = (histogram.get_value_at_percentile(p) / 1000 for p in (50, 99, 99.9, 100))
    return p50, p99, p999, largest


def main() -> None:
    """Run the load in the argument, a JSON document of `LoadOptions`; print the result as a line of JSON."""
    sys.stdout.write(json.dumps(asdict(run(LoadOptions(**json.loads(sys.argv[1]))))) + "\n")


if __name__ == "__main__":
    main()
