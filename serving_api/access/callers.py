"""Callers: their rights, and their rate limits."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from serving_api.http import problems


class RateLimit:
    """A token bucket that holds one second's requests, or one request if the rate is lower.

    It is kept as one number, the time at which the bucket will be full (the generic cell rate algorithm, ITU-T I.371).
    """

    def __init__(self, requests_per_second: float) -> None:
        self.requests_per_second = requests_per_second
        self._interval = 1 / requests_per_second
        self._max_ahead = max(1.0, self._interval) - self._interval
        self._full_at = 0.0

    def take(self, now: float) -> float:
        """Take one request out of the bucket. Return 0.0, or the seconds until the bucket will have one.

        Args:
            now: the time in seconds, of a clock that never goes back.
        """
        ahead = self._full_at - now
        if ahead > self._max_ahead:
            return ahead - self._max_ahead
        self._full_at = (now if ahead < 0 else self._full_at) + self._interval
        return 0.0


def _ignore() -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request, and its rights.

    Attributes:
        name: the name in the callers file.
        models: the models that it may read; None for all.
        preview: True if it may read versions that are not active.
        metrics: True if it may read the metrics of the service.
        limit: the limit of its requests; None if there is none.
        count_admitted: counts a request that was admitted.
        count_limited: counts a request that exceeded the rate limit.
        count_forbidden: counts a request that it has no right to.
    """

    name: str
    models: frozenset[str] | None = None
    preview: bool = True
    metrics: bool = True
    limit: RateLimit | None = None
    count_admitted: Callable[[], None] = _ignore
    count_limited: Callable[[], None] = _ignore
    count_forbidden: Callable[[], None] = _ignore

    def count_request(self) -> None:
        """Count a request against the rate limit.

        Raises:
            ProblemError: the request exceeds the limit.
        """
        if self.limit is not None and (seconds := self.limit.take(time.monotonic())):
            self.count_limited()
            raise problems.too_many_requests(self.name, self.limit.requests_per_second, seconds)
        self.count_admitted()

    def may_read(self, model: str) -> bool:
        """Return True if the caller may read a model."""
        return self.models is None or model in self.models

    def require_model(self, model: str) -> None:
        """Require the right to read a model.

        Raises:
            ProblemError: the caller has no right. It does not learn if the model exists.
        """
        if self.models is not None and model not in self.models:
            raise self._forbidden(f"read the model {model!r}", model=model)

    def require_preview(self, model: str, version: int) -> None:
        """Require the right to read a version that is not active.

        Raises:
            ProblemError: the caller has no right.
        """
        if not self.preview:
            raise self._forbidden(f"read versions that are not active, such as {version}", model=model, version=version)

    def require_metrics(self) -> None:
        """Require the right to read the metrics of the service.

        Raises:
            ProblemError: the caller has no right.
        """
        if not self.metrics:
            raise self._forbidden("read the metrics")

    def _forbidden(self, action: str, **members: str | int) -> problems.ProblemError:
        self.count_forbidden()
        return problems.forbidden(self.name, action, **members)


ANYONE = Caller("anyone")
"""The caller of a request that needs no credential."""
