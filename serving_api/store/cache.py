"""A cache of predictions, which evicts the least recently used ones. It is off unless the operator gives it memory.

Nothing has to be invalidated: only predictions of promoted versions are kept, which never change, and the version is
part of the key. Entries of versions that are no longer read are evicted first, because nothing uses them.
"""

from collections import OrderedDict
from itertools import islice

from serving_api.telemetry.metrics import Metrics

VersionName = tuple[str, int]
"""The name of a model, and the number of one of its versions."""

_ENTRY_BYTES = 350
"""The memory of an entry besides its row key and its prediction: objects, and a place in the dictionary. Measured by
tests/serving_api/test_cache.py with CPython 3.11 on 64 bits."""


class Cache:
    """Keeps the most recently used predictions within a number of bytes. An empty prediction means there is none."""

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        """Keep at most `max_bytes`, with the overhead of entries."""
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._bytes = 0
        self._entries: OrderedDict[tuple[VersionName, bytes], bytes] = OrderedDict()

    def get(self, name: VersionName, key: bytes) -> bytes | None:
        """The prediction of a version at a row key; None if the cache does not have it."""
        entry = (name, key)
        payload = self._entries.get(entry)
        if payload is None:
            self._metrics.cache_misses.inc()
            return None
        self._metrics.cache_hits.inc()
        self._entries.move_to_end(entry)
        return payload

    def put(self, name: VersionName, key: bytes, payload: bytes) -> None:
        """Keep a prediction, and evict the least recently used ones if there is no room."""
        entry = (name, key)
        if entry in self._entries:
            return
        size = _size(entry, payload)
        if size > self._max_bytes:
            return
        self._entries[entry] = payload
        self._bytes += size
        while self._bytes > self._max_bytes:
            evicted, value = self._entries.popitem(last=False)
            self._bytes -= _size(evicted, value)
        self._metrics.cache_bytes.set(self._bytes)

    def most_recent(self, name: VersionName, limit: int) -> list[bytes]:
        """The row keys of a version, the most recently used one first, at most `limit`."""
        return list(islice((key for other, key in reversed(self._entries) if other == name), limit))


def _size(entry: tuple[VersionName, bytes], payload: bytes) -> int:
    return len(entry[1]) + len(payload) + _ENTRY_BYTES
