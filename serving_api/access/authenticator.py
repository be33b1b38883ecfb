"""Authenticators: they admit a request and name its caller, or raise the problem that refuses it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

from serving_api.access.api_keys import ID_LENGTH
from serving_api.access.callers import ANYONE, Caller
from serving_api.access.tokens import InvalidTokenError, Issuer, KeysUnavailableError, TokenCallers, TokenVerifier
from serving_api.access.watched_callers import WatchedCallers
from serving_api.http import problems
from serving_api.settings import Settings
from serving_api.supervisor import Supervisor
from serving_api.telemetry.metrics import Metrics

_BEARER = b"bearer "
_KEY_HEADERS = (b"authorization", b"x-api-key")

_INVALID_KEY = "The API key is not valid."


class Authenticator(Protocol):
    """Admits requests."""

    async def admit(self, headers: Mapping[bytes, bytes], model: str | None = None) -> Caller:
        """Admit a request, and return its caller.

        Args:
            headers: headers of the request, with names in lower case.
            model: the model that the request reads, if it names one.

        Raises:
            ProblemError: 401, 403 or 429; 503 while tokens cannot be verified.
        """
        ...


class OpenAuthenticator:
    """Admits everybody."""

    async def admit(self, headers: Mapping[bytes, bytes], model: str | None = None) -> Caller:  # noqa: ARG002  of the protocol
        """Admit a request."""
        return ANYONE


class CallersAuthenticator:
    """Admits the callers of the callers file."""

    def __init__(
        self,
        callers: WatchedCallers,
        headers: tuple[bytes, ...],
        tokens: TokenCallers | None,
        metrics: Metrics,
        *,
        accepts_keys: bool,
    ) -> None:
        """Admit callers.

        Args:
            callers: callers and their API keys.
            headers: headers that may carry a credential. The first one that a request has is used.
            tokens: finds callers by their tokens; None if tokens are not accepted.
            metrics: counts requests without a known caller.
            accepts_keys: True if API keys are accepted.
        """
        self._callers = callers
        self._headers = headers
        self._tokens = tokens
        self._accepts_keys = accepts_keys
        self._count_unauthorized = metrics.count_of("", "unauthorized")
        self._count_unknown = metrics.count_of("", "forbidden")

    async def admit(self, headers: Mapping[bytes, bytes], model: str | None = None) -> Caller:
        """Admit a request, and return its caller."""
        credential = self._credential(headers)
        key = self._callers.current.keys.get(credential[:ID_LENGTH]) if self._accepts_keys else None
        if key is None:
            caller = await self._caller_of_token(credential)
        elif not key.verify(credential):
            raise self._unauthorized(_INVALID_KEY)
        elif time.time() >= key.expires_at:
            raise self._unauthorized("The API key has expired; ask for a new one.")
        else:
            caller = key.caller
        caller.count_request()
        if model is not None:
            caller.require_model(model)
        return caller

    def _credential(self, headers: Mapping[bytes, bytes]) -> bytes:
        for name in self._headers:
            value = headers.get(name)
            if value:
                return value[len(_BEARER) :] if value[: len(_BEARER)].lower() == _BEARER else value
        self._count_unauthorized()
        raise problems.missing_credential(name.decode() for name in self._headers)

    async def _caller_of_token(self, token: bytes) -> Caller:
        if self._tokens is None:
            raise self._unauthorized(_INVALID_KEY)
        try:
            caller = await self._tokens.caller(token)
        except InvalidTokenError as error:
            raise self._unauthorized(f"The API key or token is not valid: {error}.") from None
        except KeysUnavailableError:
            raise problems.issuer_unavailable() from None
        if caller is None:
            self._count_unknown()
            raise problems.unknown_caller()
        return caller

    def _unauthorized(self, detail: str) -> problems.ProblemError:
        self._count_unauthorized()
        return problems.unauthorized(detail)


@asynccontextmanager
async def open_authenticator(settings: Settings, metrics: Metrics) -> AsyncIterator[Authenticator]:
    """Yield the authenticator that the settings ask for, and keep its callers and keys up to date.

    Raises:
        ValueError: the callers file cannot be read, or is invalid.
    """
    if settings.auth == "none" or settings.callers_file is None:
        yield OpenAuthenticator()
        return
    callers = WatchedCallers(settings.callers_file, metrics)
    tokens: TokenCallers | None = None
    headers: tuple[bytes, ...] = ()
    verifier: TokenVerifier | None = None
    if settings.auth != "api_keys":
        issuer = Issuer(settings.jwt_issuer, settings.jwt_audience, settings.jwt_keys_url)
        verifier = TokenVerifier(issuer, settings.jwt_keys_seconds, metrics)
        tokens = TokenCallers(verifier, callers)
        headers = (settings.jwt_header.lower().encode(),)
        await verifier.refresh()
    accepts_keys = settings.auth != "jwt"
    if accepts_keys:
        headers = tuple(dict.fromkeys((*headers, *_KEY_HEADERS)))
    async with Supervisor(metrics) as tasks:
        tasks.start("callers", partial(_poll, callers.refresh, settings.callers_seconds))
        if verifier:
            tasks.start("issuer", partial(_poll, verifier.refresh, settings.jwt_keys_seconds))
        yield CallersAuthenticator(callers, headers, tokens, metrics, accepts_keys=accepts_keys)


async def _poll(refresh: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Refresh every `seconds`, until cancelled."""
    while True:
        await asyncio.sleep(seconds)
        await refresh()
