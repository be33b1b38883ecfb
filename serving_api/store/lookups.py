"""Looks predictions up: within a deadline, within a limit of lookups in flight, in batches, and from a cache."""

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, cast

from prediction_store.layout import Instance
from prediction_store.messages import prediction_filter, read_request
from serving_api.bigtable import BigtableClient, CallError
from serving_api.settings import Settings
from serving_api.store.batching import Batcher, Cells, Waiter
from serving_api.store.cache import Cache, VersionName
from serving_api.store.errors import DeadlineError, OverloadedError, UnavailableError
from serving_api.store.hedging import Hedging
from serving_api.store.reads import Outage, Reader
from serving_api.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from serving_api.telemetry.tracing import Tracing

_DEADLINE_CODES = ("DEADLINE_EXCEEDED", "CANCELLED")
"""The gRPC codes with which Bigtable ends a call after its deadline: by its own clock, or by a part that stopped."""


class Lookups:
    """Reads rows of tables, in as few calls as the load allows."""

    def __init__(
        self,
        client: BigtableClient,
        settings: Settings,
        metrics: Metrics,
        cache: Cache | None,
        tracing: "Tracing | None",
    ) -> None:
        """Prepare lookups. An event loop must be running.

        Args:
            client: reads from Bigtable.
            settings: the instance, the app profile, and the limits of this process.
            metrics: counts lookups and reads.
            cache: predictions that were looked up before; None reads each of them again.
            tracing: traces reads; None if the service makes no traces.
        """
        self.in_flight = 0
        """The number of entities that are being looked up."""
        self._loop = asyncio.get_running_loop()
        self._client = client
        self._settings = settings
        self._max_in_flight = settings.max_in_flight
        self._metrics = metrics
        self._cache = cache
        self._tracing = tracing
        self._hedging = Hedging(settings.hedge_budget)
        self._outage = Outage()

    def version(self, table: str, model: str, version: int, *, cached: bool) -> "VersionSource":
        """The predictions of one version of a model in a table. `cached` is True if they may be kept in the cache."""
        name = (model, version)
        return VersionSource(name, self, self._batcher(table, {model: version}), self._cache if cached else None)

    def entities(self, table: str, versions: Mapping[str, int]) -> "EntitySource":
        """The predictions of several models that share a table. `versions` has the version of each model."""
        return EntitySource(self, self._batcher(table, versions), self._cache)

    def _batcher(self, table: str, versions: Mapping[str, int]) -> Batcher:
        settings = self._settings
        name = Instance(settings.project, settings.instance).table(table)
        reader = Reader(
            client=self._client,
            table=name,
            request=read_request(name, "", (), prediction_filter(versions)).SerializeToString(),
            app_profiles=(settings.app_profile, settings.hedge_app_profile or settings.app_profile),
            hedging=self._hedging,
            metrics=self._metrics,
            tracing=self._tracing,
            outage=self._outage,
        )
        return Batcher(
            reader.read, max_keys=settings.max_keys_per_version, max_keys_per_read=settings.max_keys_per_read
        )

    def refuse_if_full(self) -> bool:
        """Return True, and count a refused request, if the limit of lookups in flight is reached."""
        if self.in_flight < self._max_in_flight:
            return False
        self._metrics.refused.inc()
        return True

    async def rows(self, batcher: Batcher, keys: Collection[bytes], deadline: float) -> dict[bytes, Cells]:
        """Read the rows that exist of one or more distinct keys.

        Args:
            batcher: batches the keys with those of other lookups.
            keys: the row keys.
            deadline: the event-loop time after which the rows are of no use.

        Raises:
            OverloadedError: too many lookups are in flight; nothing was read.
            DeadlineError: the rows did not arrive in time.
            UnavailableError: Bigtable answered with an error.
        """
        number = len(keys)
        if self.in_flight + number > self._max_in_flight:
            self._metrics.refused.inc()
            raise OverloadedError
        self.in_flight += number
        rows: asyncio.Future[dict[bytes, Cells]] = self._loop.create_future()
        span = self._tracing.current_span() if self._tracing else None
        batcher.add(keys, Waiter(rows, deadline, number, span))
        try:
            return await rows
        except TimeoutError:
            raise DeadlineError from None
        except CallError as error:
            raise (DeadlineError() if error.code in _DEADLINE_CODES else UnavailableError(error.code)) from None
        finally:
            self.in_flight -= number


class VersionSource:
    """The predictions of one version of one model. Its methods raise StoreError as `Lookups.rows` does."""

    def __init__(self, name: VersionName, lookups: Lookups, batcher: Batcher, cache: Cache | None) -> None:
        self._name = name
        self._lookups = lookups
        self._batcher = batcher
        self._cache = cache

    async def prediction(self, key: bytes, deadline: float) -> bytes:
        """The prediction for the entity with a row key; empty if there is none."""
        cache = self._cache
        if cache is not None and (known := cache.get(self._name, key)) is not None:
            return known
        rows = await self._lookups.rows(self._batcher, (key,), deadline)
        payload = rows[key].get(self._name[0], b"") if rows else b""
        if cache is not None:
            cache.put(self._name, key, payload)
        return payload

    async def predictions(self, keys: Collection[bytes], deadline: float) -> dict[bytes, bytes]:
        """The predictions for the entities with the given distinct row keys; empty where there is none."""
        cache = self._cache
        if cache is None:
            return await self.read(keys, deadline)
        found = {key: known for key in keys if (known := cache.get(self._name, key)) is not None}
        if missing := [key for key in keys if key not in found]:
            found |= await self.read(missing, deadline)
        return found

    async def read(self, keys: Collection[bytes], deadline: float) -> dict[bytes, bytes]:
        """Read predictions from Bigtable, and keep them in the cache."""
        rows = await self._lookups.rows(self._batcher, keys, deadline)
        model = self._name[0]
        found = {key: rows[key].get(model, b"") if key in rows else b"" for key in keys}
        if self._cache is not None:
            for key, payload in found.items():
                self._cache.put(self._name, key, payload)
        return found


class EntitySource:
    """The predictions of the models that share a table. Its method raises StoreError as `Lookups.rows` does."""

    def __init__(self, lookups: Lookups, batcher: Batcher, cache: Cache | None) -> None:
        self._lookups = lookups
        self._batcher = batcher
        self._cache = cache

    async def predictions(self, keys: Mapping[VersionName, bytes], deadline: float) -> dict[VersionName, bytes]:
        """The predictions of all models for one entity; empty where there is none.

        Args:
            keys: the row key of the entity by version, of each model. Models may form row keys differently.
            deadline: the event-loop time after which the predictions are of no use.
        """
        cache = self._cache
        if cache is not None:
            known = {name: cache.get(name, key) for name, key in keys.items()}
            if None not in known.values():
                return cast("dict[VersionName, bytes]", known)
        rows = await self._lookups.rows(self._batcher, set(keys.values()), deadline)
        found = {name: rows.get(key, {}).get(name[0], b"") for name, key in keys.items()}
        if cache is not None:
            for name, payload in found.items():
                cache.put(name, keys[name], payload)
        return found
