"""Looks predictions up in Bigtable: within a deadline, within a bound on the work in flight, in shared reads."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from prediction_store.layout import Instance
from prediction_store.messages import prediction_filter, read_request
from serving_api.bigtable import CallError, Channel
from serving_api.store.batching import Batch, Cells, Lane, ManyRows, OneRow
from serving_api.store.cache import Cache, Name
from serving_api.store.hedging import SecondReads
from serving_api.store.observed_reads import ObservedRead, failure_code
from serving_api.store.reads import Reader
from serving_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from serving_api.telemetry.tracing import Tracing

_log = structlog.get_logger(__name__)

_LATE = ("DEADLINE_EXCEEDED", "CANCELLED")
"""How Bigtable ends a call whose time is over: by its own clock, or because its own parts gave up."""


class OverloadedError(Exception):
    """Too many lookups are in flight."""


class DeadlineError(Exception):
    """The predictions did not arrive in time."""


class UnavailableError(Exception):
    """Bigtable did not answer the read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What lookups may take.

    `max_in_flight` bounds the keys of all lookups at a time, `max_reads_per_lane` the reads in flight of one source.
    `hedge_budget` is the share of reads that may be made a second time.
    """

    max_in_flight: int
    max_keys_per_read: int
    max_reads_per_lane: int
    hedge_budget: float


class Lookups:
    """Looks rows up, in as few reads as the load allows."""

    def __init__(
        self,
        channel: Channel,
        instance: Instance,
        app_profile: str,
        limits: Limits,
        metrics: Metrics,
        cache: Cache | None,
        tracing: "Tracing | None",
    ) -> None:
        """Look up in the tables of an instance.

        Args:
            channel: to Bigtable.
            instance: where the tables are.
            app_profile: the app profile to read through; empty: the default one.
            limits: what lookups may take.
            metrics: where lookups and reads are counted.
            cache: what has been looked up already.
            tracing: where reads are traced.
        """
        self.limits = limits
        self.in_flight = 0
        """How many entities are being looked up."""
        self._channel = channel
        self._instance = instance
        self._app_profile = app_profile
        self._metrics = metrics
        self._cache = cache
        self.tracing = tracing
        self._second_reads = SecondReads(limits.hedge_budget, metrics)
        self._failure: str | None = None

    def version(self, table: str, model: str, version: int) -> "VersionSource":
        """The predictions of a version of a model, in a table."""
        name = (model, version)
        return VersionSource(name, self._rows(table, [name]), self._cache)

    def entities(self, table: str, names: Sequence[Name]) -> "EntitySource":
        """The predictions of several models, in the one table that they share, at the given version of each."""
        return EntitySource(names, self._rows(table, names), self._cache)

    def _rows(self, table: str, names: Sequence[Name]) -> "Rows":
        name = self._instance.table(table)
        request = read_request(name, self._app_profile, (), prediction_filter(dict(names))).SerializeToString()
        reader = Reader(self._channel, name, request, self._second_reads)
        lane = Lane(
            partial(self._read, reader),
            max_reads=self.limits.max_reads_per_lane,
            max_keys=self.limits.max_keys_per_read,
        )
        return Rows(self, lane)

    def refuses(self) -> bool:
        """Whether there is no room for one lookup more; the one that asks counts as refused then."""
        if self.in_flight < self.limits.max_in_flight:
            return False
        self._metrics.refused.inc()
        return True

    def admit(self, keys: int) -> None:
        """Count keys as in flight.

        Raises:
            OverloadedError: there would be too many.
        """
        if self.in_flight + keys > self.limits.max_in_flight:
            self._metrics.refused.inc()
            raise OverloadedError
        self.in_flight += keys

    def _read(self, reader: Reader, batch: Batch, when_ended: Callable[[Exception | None], None]) -> ObservedRead:
        def note(error: Exception | None) -> None:
            self._note(error)
            when_ended(error)

        return ObservedRead(reader, batch, note, self._metrics, self.tracing)

    def _note(self, error: Exception | None) -> None:
        """Say in the log when reads begin to fail, and when they stop failing."""
        failure = failure_code(error) if error else None
        if failure == self._failure:
            return
        self._failure = failure
        if failure:
            _log.error("reads fail", code=failure, reason=str(error))
        else:
            _log.info("reads succeed again")


class Rows:
    """The rows of a table, each with the predictions that some versions of some models have for it."""

    def __init__(self, lookups: Lookups, lane: Lane) -> None:
        """Read in a lane, within the limits of `lookups`."""
        self._loop = asyncio.get_running_loop()
        self._lookups = lookups
        self._lane = lane

    async def one(self, key: bytes, deadline: float) -> Cells | None:
        """The row with a key; None if there is none.

        Args:
            key: the row key.
            deadline: until when it is of use, a time of the event loop.

        Raises:
            OverloadedError: too many lookups are in flight; nothing was read.
            DeadlineError: the row did not arrive in time.
            UnavailableError: Bigtable did not answer.
        """
        lookups = self._lookups
        lookups.admit(1)
        arriving: asyncio.Future[Cells | None] = self._loop.create_future()
        span = lookups.tracing.current_span() if lookups.tracing else None
        self._lane.enter(key, OneRow(arriving, deadline, span))
        try:
            return await arriving
        except (TimeoutError, CallError) as error:
            raise _explained(error) from None
        finally:
            lookups.in_flight -= 1

    async def many(self, keys: Collection[bytes], deadline: float) -> dict[bytes, Cells]:
        """The rows that exist of the given keys, at least one and no two the same.

        Raises as `one` does.
        """
        lookups = self._lookups
        lookups.admit(len(keys))
        arriving: asyncio.Future[dict[bytes, Cells]] = self._loop.create_future()
        span = lookups.tracing.current_span() if lookups.tracing else None
        waiter = ManyRows(arriving, deadline, len(keys), span)
        for key in keys:
            self._lane.enter(key, waiter)
        try:
            return await arriving
        except (TimeoutError, CallError) as error:
            raise _explained(error) from None
        finally:
            lookups.in_flight -= len(keys)


class VersionSource:
    """What one version of one model predicts. Raises as `Rows` does."""

    def __init__(self, name: Name, rows: Rows, cache: Cache | None) -> None:
        self._name = name
        self._rows = rows
        self._cache = cache

    async def prediction(self, key: bytes, deadline: float) -> bytes:
        """The prediction for the entity with a row key; empty: there is none."""
        cache = self._cache
        if cache is not None and (known := cache.get(self._name, key)) is not None:
            return known
        cells = await self._rows.one(key, deadline)
        payload = cells.get(self._name[0], b"") if cells else b""
        if cache is not None:
            cache.put(self._name, key, payload)
        return payload

    async def predictions(self, keys: Collection[bytes], deadline: float) -> dict[bytes, bytes]:
        """The predictions for the entities with the given row keys, no two the same; empty: there is none."""
        cache = self._cache
        if cache is None:
            return await self.read(keys, deadline)
        found = {key: known for key in keys if (known := cache.get(self._name, key)) is not None}
        if missing := [key for key in keys if key not in found]:
            found |= await self.read(missing, deadline)
        return found

    async def read(self, keys: Collection[bytes], deadline: float) -> dict[bytes, bytes]:
        """The same, from Bigtable; the cache takes them."""
        rows = await self._rows.many(keys, deadline)
        model = self._name[0]
        found = {key: rows[key].get(model, b"") if key in rows else b"" for key in keys}
        if self._cache is not None:
            for key, payload in found.items():
                self._cache.put(self._name, key, payload)
        return found


class EntitySource:
    """What several models predict for the entities that they share. Raises as `Rows` does."""

    def __init__(self, names: Sequence[Name], rows: Rows, cache: Cache | None) -> None:
        self._names = names
        self._rows = rows
        self._cache = cache

    async def predictions(self, keys: Mapping[Name, bytes], deadline: float) -> dict[Name, bytes]:
        """The predictions of all models for one entity, whose row key may differ by model; empty: there is none."""
        cache = self._cache
        if cache is not None:
            known = {name: cache.get(name, keys[name]) for name in self._names}
            if None not in known.values():
                return cast("dict[Name, bytes]", known)
        rows = await self._rows.many(set(keys.values()), deadline)
        found = {name: rows.get(keys[name], {}).get(name[0], b"") for name in self._names}
        if cache is not None:
            for name, payload in found.items():
                cache.put(name, keys[name], payload)
        return found


def _explained(error: TimeoutError | CallError) -> Exception:
    if isinstance(error, TimeoutError) or error.code in _LATE:
        return DeadlineError()
    return UnavailableError(error.code)
