"""Fills the cache for a version that has just been promoted, from what was asked of the one before."""

import asyncio
from contextlib import suppress

import structlog

from serving_api.store.cache import Cache
from serving_api.store.catalog import ModelVersion
from serving_api.store.lookups import DeadlineError, OverloadedError, UnavailableError

_log = structlog.get_logger(__name__)

_MOST_KEYS = 20_000
"""More would compete with the lookups that come meanwhile for longer than a second or so."""


class Warming:
    """Looks up at the new version what was looked up last at the old one: a batch at a time, beside all else."""

    def __init__(self, cache: Cache | None, batch: int, timeout_seconds: float) -> None:
        """Fill a cache, with `batch` keys in a read; do nothing where there is none."""
        self._cache = cache
        self._batch = batch
        self._timeout_seconds = timeout_seconds
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, previous: ModelVersion, following: ModelVersion) -> None:
        """Begin, without waiting for the end."""
        if self._cache and (keys := self._cache.hottest(previous.name, _MOST_KEYS)):
            task = asyncio.create_task(self._warm(following, keys))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def stop(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()

    async def _warm(self, version: ModelVersion, keys: list[bytes]) -> None:
        loop = asyncio.get_running_loop()
        with suppress(DeadlineError, OverloadedError, UnavailableError):  # then lookups fill it
            for start in range(0, len(keys), self._batch):
                part = keys[start : start + self._batch]
                await version.source.read(part, loop.time() + self._timeout_seconds)
            _log.info("the cache is warm", model=version.model, version=version.version, entities=len(keys))
