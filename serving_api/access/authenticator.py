"""Lets a request in, or says why not."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from serving_api.access.api_keys import ID_LENGTH
from serving_api.access.callers import ANYONE, Caller
from serving_api.access.tokens import InvalidTokenError, Issuer, KeysUnavailableError, TokenCallers, TokenVerifier
from serving_api.access.watched_callers import WatchedCallers
from serving_api.http.problems import RETRY, ProblemError
from serving_api.settings import Settings
from serving_api.telemetry.metrics import Metrics

_BEARER = b"bearer "
_KEY_HEADERS = (b"authorization", b"x-api-key")


class Access(Protocol):
    """What every request passes before it is answered."""

    async def admit(self, headers: Mapping[bytes, bytes], model: str | None = None) -> Caller:
        """Let a request in; who sent it.

        Args:
            headers: its headers, named in lower case.
            model: the model that it reads, if it names one.

        Raises:
            ProblemError: 401, 403, 429; or 503 while tokens cannot be checked.
        """
        ...


class Open:
    """Lets everybody in."""

    async def admit(self, headers: Mapping[bytes, bytes], model: str | None = None) -> Caller:  # noqa: ARG002  of Access
        """Let a request in."""
        return ANYONE


class Guarded:
    """Lets the callers of a file in."""

    def __init__(
        self, callers: WatchedCallers, headers: tuple[bytes, ...], tokens: TokenCallers | None, metrics: Metrics
    ) -> None:
        """Let callers in.

        Args:
            callers: who there is, with their keys.
            headers: those that may carry a key or token; the first that a request has counts.
            tokens: knows callers by their tokens; None: tokens are not accepted.
            metrics: where requests are counted that are of no caller.
        """
        self._callers = callers
        self._headers = headers
        self._tokens = tokens
        self._count_unauthorized = metrics.count_of("", "unauthorized")
        self._count_unknown = metrics.count_of("", "forbidden")

    async def admit(self, headers: Mapping[bytes, bytes], model: str | None = None) -> Caller:
        """Let a request in."""
        credential = self._credential(headers)
        key = self._callers.current.keys.get(credential[:ID_LENGTH])
        if key is None:
            caller = await self._by_token(credential)
        elif not key.is_key(credential):
            raise self._unauthorized("The API key is not valid.", invalid=True)
        elif time.time() >= key.expires_at:
            raise self._unauthorized("The API key has expired; ask for a new one.", invalid=True)
        else:
            caller = key.caller
        caller.enter()
        if model is not None:
            caller.require_model(model)
        return caller

    def _credential(self, headers: Mapping[bytes, bytes]) -> bytes:
        for name in self._headers:
            value = headers.get(name)
            if value:
                return value[len(_BEARER) :] if value[: len(_BEARER)].lower() == _BEARER else value
        names = " or ".join(name.decode() for name in self._headers)
        raise self._unauthorized(f"This needs an API key or token in the header {names}; /docs tells how.")

    async def _by_token(self, token: bytes) -> Caller:
        if self._tokens is None:
            raise self._unauthorized("The API key is not valid.", invalid=True)
        try:
            caller = await self._tokens.caller(token)
        except InvalidTokenError as error:
            raise self._unauthorized(f"The API key or token is not valid: {error}.", invalid=True) from None
        except KeysUnavailableError:
            detail = "The keys of the tokens' issuer cannot be read, so no token can be checked; try again."
            raise ProblemError(503, "Issuer unavailable", detail, RETRY) from None
        if caller is None:
            self._count_unknown()
            detail = "The token is valid, but of none of the callers; whoever runs the service can add its claims."
            raise ProblemError(403, "Forbidden", detail)
        return caller

    def _unauthorized(self, detail: str, *, invalid: bool = False) -> ProblemError:
        self._count_unauthorized()
        challenge = 'Bearer realm="foreserve"' + (', error="invalid_token"' if invalid else "")
        return ProblemError(401, "Unauthorized", detail, {"WWW-Authenticate": challenge})


@asynccontextmanager
async def open_access(settings: Settings, metrics: Metrics) -> AsyncIterator[Access]:
    """The access that the settings ask for, kept up to date.

    Raises:
        ValueError: the callers file cannot be read or understood.
    """
    if settings.auth == "none" or settings.callers_file is None:
        yield Open()
        return
    callers = WatchedCallers(settings.callers_file, metrics)
    tokens: TokenCallers | None = None
    headers: tuple[bytes, ...] = ()
    polling = [asyncio.create_task(_poll(callers.refresh, settings.callers_seconds))]
    if settings.auth != "api_keys":
        issuer = Issuer(settings.jwt_issuer, settings.jwt_audience, settings.jwt_keys_url)
        verifier = TokenVerifier(issuer, settings.jwt_keys_seconds, metrics)
        tokens = TokenCallers(verifier, callers)
        headers = (settings.jwt_header.lower().encode(),)
        await verifier.refresh()
        polling.append(asyncio.create_task(_poll(verifier.refresh, settings.jwt_keys_seconds)))
    if settings.auth != "jwt":
        headers = tuple(dict.fromkeys((*headers, *_KEY_HEADERS)))
    try:
        yield Guarded(callers, headers, tokens, metrics)
    finally:
        for task in polling:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def _poll(refresh: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Refresh again and again, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await refresh()
