"""Warming: the cache is filled for a version that was just promoted, with what was looked up at the one before."""

import asyncio
from contextlib import suppress
from functools import partial

import structlog

from serving_api.store.cache import Cache
from serving_api.store.catalog import ModelVersion
from serving_api.store.errors import StoreError
from serving_api.supervisor import Supervisor

_log = structlog.get_logger(__name__)

_MAX_KEYS = 20_000
"""The largest number of entities to warm. More would compete with lookups for longer than about a second."""


class Warming:
    """Looks up at the new version what was last looked up at the old one, one batch after the other."""

    def __init__(self, cache: Cache | None, keys_per_batch: int, timeout_seconds: float, tasks: Supervisor) -> None:
        """Prepare to fill a cache; without one, nothing is warmed.

        Args:
            cache: the cache to fill.
            keys_per_batch: entities that are looked up at a time.
            timeout_seconds: the time that one batch may take.
            tasks: runs the warming.
        """
        self._cache = cache
        self._keys_per_batch = keys_per_batch
        self._timeout_seconds = timeout_seconds
        self._tasks = tasks

    def start(self, previous: ModelVersion, promoted: ModelVersion) -> None:
        """Start to warm a version in the background."""
        if self._cache and (keys := self._cache.most_recent(previous.name, _MAX_KEYS)):
            self._tasks.start("warming", partial(self._warm, promoted, keys))

    async def _warm(self, version: ModelVersion, keys: list[bytes]) -> None:
        """Read the keys. A failed read ends the warming: later lookups fill the cache."""
        loop = asyncio.get_running_loop()
        with suppress(StoreError):
            for start in range(0, len(keys), self._keys_per_batch):
                batch = keys[start : start + self._keys_per_batch]
                await version.source.read(batch, loop.time() + self._timeout_seconds)
            _log.info("the cache is warm", model=version.model, version=version.version, entities=len(keys))
