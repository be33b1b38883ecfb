"""The callers of the callers file, read again whenever the file changes."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from serving_api.access.api_keys import ApiKey
from serving_api.access.callers import Caller, RateLimit
from serving_api.access.callers_file import CallerEntry, CallersFile, read_callers_file
from serving_api.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TokenRule:
    """Claims of tokens that belong to a caller."""

    caller: Caller
    claims: Mapping[str, str]

    def matches(self, claims: Mapping[str, object]) -> bool:
        """Return True if a token has each claim of the rule, as its value or in a list of values."""
        for name, required in self.claims.items():
            value = claims.get(name)
            if value != required and not (isinstance(value, list) and required in value):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Callers:
    """All callers: by the id of their API keys, and by the claims of their tokens."""

    keys: Mapping[bytes, ApiKey]
    rules: tuple[TokenRule, ...]


class WatchedCallers:
    """The callers in the last valid content of the callers file."""

    def __init__(self, path: Path, metrics: Metrics) -> None:
        """Read the file.

        Raises:
            ValueError: the file cannot be read, or is invalid.
        """
        self._path = path
        self._metrics = metrics
        self._limits: dict[str, RateLimit] = {}
        self._content, file = read_callers_file(path)
        self._failure: str | None = None
        self.current = self._callers(file)

    async def refresh(self) -> None:
        """Read the file again. If it is invalid, log it and keep the last callers.

        The content is compared instead of the modification time, which volumes of secrets do not keep.
        """
        try:
            content, file = await asyncio.to_thread(read_callers_file, self._path)
        except ValueError as error:
            self._metrics.callers_file_broken.set(1)
            if str(error) != self._failure:
                _log.error("keeping the last callers", reason=str(error))
            self._failure = str(error)
            return
        if self._failure:
            _log.info("the callers file is valid again")
        self._metrics.callers_file_broken.set(0)
        self._failure = None
        if content == self._content:
            return
        self._content = content
        self.current = self._callers(file)
        _log.info("callers changed", callers=len(file.callers))

    def _callers(self, file: CallersFile) -> Callers:
        entries = [(entry, self._caller(entry)) for entry in file.callers]
        return Callers(
            keys={
                key.id.encode(): ApiKey(
                    caller, bytes.fromhex(key.sha256), key.expires.timestamp() if key.expires else math.inf
                )
                for entry, caller in entries
                for key in entry.keys
            },
            rules=tuple(TokenRule(caller, claims) for entry, caller in entries for claims in entry.tokens),
        )

    def _caller(self, entry: CallerEntry) -> Caller:
        return Caller(
            name=entry.name,
            models=None if entry.models == "all" else frozenset(entry.models),
            preview=entry.preview,
            metrics=entry.metrics,
            limit=self._limit(entry),
            count_admitted=self._metrics.count_of(entry.name, "admitted"),
            count_limited=self._metrics.count_of(entry.name, "limited"),
            count_forbidden=self._metrics.count_of(entry.name, "forbidden"),
        )

    def _limit(self, entry: CallerEntry) -> RateLimit | None:
        """The rate limit of a caller. It stays the same object while the rate does, so a change refills no bucket."""
        rate = entry.requests_per_second
        if rate is None:
            return None
        limit = self._limits.get(entry.name)
        if limit is None or limit.requests_per_second != rate:
            limit = self._limits[entry.name] = RateLimit(rate)
        return limit
