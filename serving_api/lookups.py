"""Looks predictions up in Bigtable: within a deadline, within a bound on the work in flight, in shared reads."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import grpc
import grpc.aio
import structlog

from prediction_store.connection import routing_metadata
from prediction_store.instance import Instance
from prediction_store.protos import read_rows
from prediction_store.reads import Row, RowAssembler, prediction_filter, read_request
from serving_api.catalog import Source
from serving_api.lanes import Cells, Lane
from serving_api.metrics import Metrics

_log = structlog.get_logger(__name__)


class OverloadedError(Exception):
    """Too many look-ups are in flight."""


class DeadlineError(Exception):
    """The predictions did not arrive in time."""


class UnavailableError(Exception):
    """Bigtable did not answer the read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What look-ups may take.

    `max_in_flight` bounds the keys of all look-ups at a time, `max_reads_per_lane` the reads in flight of one source.
    """

    deadline_seconds: float
    max_in_flight: int
    max_keys_per_read: int
    max_reads_per_lane: int


class Lookups:
    """Looks rows up, in as few reads as the load allows."""

    def __init__(
        self, channel: grpc.aio.Channel, instance: Instance, app_profile: str, limits: Limits, metrics: Metrics
    ) -> None:
        """Look up in the tables of an instance.

        Args:
            channel: to Bigtable.
            instance: where the tables are.
            app_profile: the app profile to read through; empty: the default one.
            limits: what look-ups may take.
            metrics: where look-ups and reads are counted.
        """
        self._read_rows = read_rows(channel)
        self._instance = instance
        self._app_profile = app_profile
        self._limits = limits
        self._metrics = metrics
        self._lanes: dict[Source, Lane] = {}
        self._in_flight = 0
        self._failure: str | None = None

    async def look_up(self, source: Source, keys: Collection[bytes]) -> dict[bytes, Cells]:
        """The rows of a source with the given keys, at least one and no two the same; absent rows are left out.

        Raises:
            OverloadedError: too many look-ups are in flight; nothing was read.
            DeadlineError: the rows did not arrive in time.
            UnavailableError: Bigtable did not answer.
        """
        with self._admitted(len(keys)):
            lane = self._lanes.get(source) or self._open_lane(source)
            deadline = asyncio.get_running_loop().time() + self._limits.deadline_seconds
            try:
                return await lane.look_up(keys, deadline)
            except TimeoutError:
                raise DeadlineError from None

    @contextmanager
    def _admitted(self, keys: int) -> Iterator[None]:
        """Count keys as in flight.

        Raises:
            OverloadedError: there would be too many.
        """
        if self._in_flight + keys > self._limits.max_in_flight:
            self._metrics.refused.inc()
            raise OverloadedError
        self._in_flight += keys
        self._metrics.in_flight.inc(keys)
        try:
            yield
        finally:
            self._in_flight -= keys
            self._metrics.in_flight.dec(keys)

    def _open_lane(self, source: Source) -> Lane:
        """A lane for the look-ups of a source, which lives until it is idle."""
        table = self._instance.table(source.table)
        metadata = (routing_metadata(table, self._app_profile),)
        row_filter = prediction_filter(dict(source.versions))

        async def read(keys: Collection[bytes], deadline: float) -> AsyncIterator[Row]:
            request = read_request(table, self._app_profile, keys, row_filter)
            timeout = deadline - asyncio.get_running_loop().time()
            assembler = RowAssembler()
            self._metrics.read_keys.observe(len(keys))
            try:
                async for response in self._read_rows(request, timeout=timeout, metadata=metadata):
                    for row in assembler.feed(response):
                        yield row
            except grpc.aio.AioRpcError as error:
                self._note(error.code().name, error.details())
                if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise DeadlineError from None
                raise UnavailableError(error.code().name) from None
            self._note(None)

        lane = self._lanes[source] = Lane(
            read,
            max_reads=self._limits.max_reads_per_lane,
            max_keys=self._limits.max_keys_per_read,
            when_idle=partial(self._lanes.__delitem__, source),
        )
        return lane

    def _note(self, failure: str | None, reason: str | None = None) -> None:
        """Count a failure of a read, and say in the log when reads begin to fail, and when they stop failing."""
        if failure:
            self._metrics.read_failures.labels(failure).inc()
        if failure == self._failure:
            return
        self._failure = failure
        if failure:
            _log.error("reads fail", code=failure, reason=reason)
        else:
            _log.info("reads succeed again")
