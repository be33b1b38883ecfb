"""Callers: what each may read, and how often."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest

from serving_api.http.problems import ProblemError


class RateLimit:
    """A bucket that holds the requests of one second, one at least, and fills steadily.

    It is kept as the time at which it will be full (the generic cell rate algorithm of ITU-T I.371): one number.
    """

    def __init__(self, requests_per_second: float) -> None:
        self.requests_per_second = requests_per_second
        self._interval = 1 / requests_per_second
        self._most_ahead = max(1.0, self._interval) - self._interval
        self._full_at = 0.0

    def take(self, now: float) -> float:
        """Take one request out at a time in seconds; 0 if there was one, else the seconds until there is."""
        ahead = self._full_at - now
        if ahead > self._most_ahead:
            return ahead - self._most_ahead
        self._full_at = (now if ahead < 0 else self._full_at) + self._interval
        return 0.0


def _uncounted() -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as the callers file names it, and what it may do.

    `models` is None for a caller that may read all of them. `preview` is the right to read versions that are not
    served, `metrics` the right to read the service's own. The last three count its
    requests, by how they fared.
    """

    name: str
    models: frozenset[str] | None = None
    preview: bool = True
    metrics: bool = True
    limit: RateLimit | None = None
    count_admitted: Callable[[], None] = _uncounted
    count_limited: Callable[[], None] = _uncounted
    count_forbidden: Callable[[], None] = _uncounted

    def enter(self) -> None:
        """Count a request.

        Raises:
            ProblemError: the caller sends more than it may.
        """
        if self.limit is not None and (seconds := self.limit.take(time.monotonic())):
            self.count_limited()
            rate = self.limit.requests_per_second
            raise ProblemError(
                429,
                "Too many requests",
                f"{self.name} may send {rate:g} requests a second to each process; wait, or ask for a higher rate.",
                {"Retry-After": str(math.ceil(seconds))},
            )
        self.count_admitted()

    def may_read(self, model: str) -> bool:
        """Whether the caller may read a model."""
        return self.models is None or model in self.models

    def require_model(self, model: str) -> None:
        """Let the caller read a model.

        Raises:
            ProblemError: it may not; whether there is such a model, it does not learn.
        """
        if self.models is not None and model not in self.models:
            raise self._forbidden(f"read the model {model!r}", model=model)

    def require_preview(self, model: str, version: int) -> None:
        """Let the caller read a version that is not served.

        Raises:
            ProblemError: it may not.
        """
        if not self.preview:
            raise self._forbidden(f"read versions that are not served, such as {version}", model=model, version=version)

    def require_metrics(self) -> None:
        """Let the caller read the metrics of the service.

        Raises:
            ProblemError: it may not.
        """
        if not self.metrics:
            raise self._forbidden("read the metrics")

    def _forbidden(self, what: str, **members: str | int) -> ProblemError:
        self.count_forbidden()
        detail = f"{self.name} may not {what}; whoever runs the service can allow it in the callers file."
        return ProblemError(403, "Forbidden", detail, None, **members)


ANYONE = Caller("anyone")
"""Whoever it is, where nobody is asked."""


class ApiKey:
    """An API key of a caller, known by its digest; `expires_at` in seconds since the epoch.

    Once the key itself has come, it is compared with that, which takes a tenth of the time of a digest.
    """

    __slots__ = ("_came", "_sha256", "caller", "expires_at")

    def __init__(self, caller: Caller, digest: bytes, expires_at: float) -> None:
        self.caller = caller
        self.expires_at = expires_at
        self._sha256 = digest
        self._came = b""

    def is_key(self, credential: bytes) -> bool:
        """Whether it is this key, in time that does not depend on how much of it is right."""
        if compare_digest(credential, self._came):
            return True
        if not compare_digest(sha256(credential).digest(), self._sha256):
            return False
        self._came = credential
        return True


@dataclass(frozen=True, slots=True)
class TokenRule:
    """The claims by which a caller's tokens are known."""

    caller: Caller
    claims: Mapping[str, str]

    def matches(self, claims: Mapping[str, object]) -> bool:
        """Whether a token with these claims is the caller's: each is equal, or in the list that the token has."""
        for name, wanted in self.claims.items():
            has = claims.get(name)
            if has != wanted and not (isinstance(has, list) and wanted in has):
                return False
        return True


@dataclass(frozen=True, slots=True)
class Callers:
    """All callers there are: by the id of each API key, and by the claims of tokens."""

    keys: Mapping[bytes, ApiKey]
    rules: tuple[TokenRule, ...]
