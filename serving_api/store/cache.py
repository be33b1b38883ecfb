"""Predictions that were looked up lately. Off unless the operator gives it memory.

What a version predicts for an entity never changes once the version can be read, so nothing has to be invalidated: the
version is part of the key, and entries of versions that are not read any more are the first to be evicted.
"""

from collections import OrderedDict
from itertools import islice

from serving_api.telemetry.metrics import Metrics

Name = tuple[str, int]
"""A model and a version of it."""

_ENTRY_BYTES = 350
"""What an entry takes beside its row key and its prediction (CPython 3.11, 64 bits): objects, and its place in the
dictionary. tests/serving_api/test_cache.py measures it."""


class Cache:
    """Keeps the predictions that were used last, within a number of bytes; also that there is none."""

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        """Keep at most `max_bytes`, all told."""
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._bytes = 0
        self._entries: OrderedDict[tuple[Name, bytes], bytes] = OrderedDict()

    def get(self, name: Name, key: bytes) -> bytes | None:
        """The prediction at a row key; empty: there is none; None: it is not known here."""
        entry = (name, key)
        payload = self._entries.get(entry)
        if payload is None:
            self._metrics.cache_misses.inc()
            return None
        self._metrics.cache_hits.inc()
        self._entries.move_to_end(entry)
        return payload

    def put(self, name: Name, key: bytes, payload: bytes) -> None:
        """Keep a prediction; drop those that have not been used for longest, if there is no room."""
        entry = (name, key)
        if entry in self._entries:
            return
        size = _size(entry, payload)
        if size > self._max_bytes:
            return
        self._entries[entry] = payload
        self._bytes += size
        while self._bytes > self._max_bytes:
            dropped, value = self._entries.popitem(last=False)
            self._bytes -= _size(dropped, value)
        self._metrics.cache_bytes.set(self._bytes)

    def hottest(self, name: Name, limit: int) -> list[bytes]:
        """The row keys of a version that were used last, at most `limit`, the very last first."""
        return list(islice((key for other, key in reversed(self._entries) if other == name), limit))


def _size(entry: tuple[Name, bytes], payload: bytes) -> int:
    return len(entry[1]) + len(payload) + _ENTRY_BYTES
