"""Signed tokens (JWT, RFC 7519) of an OpenID Connect issuer: Google's for service accounts, IAP's, or any other's."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from typing import Any
from urllib.request import urlopen

import jwt
import structlog

from serving_api.access.callers import Caller, Callers
from serving_api.access.watched_callers import WatchedCallers
from serving_api.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_ALGORITHMS = ("RS256", "ES256")
"""Those of Google and of IAP. A symmetric one would make the issuer's public key a secret that everybody knows."""

_LEEWAY_SECONDS = 30
_FETCH_TIMEOUT_SECONDS = 3.0
_MAX_BYTES = 1 << 20
_MAX_TOKENS = 10_000
_NOBODY: tuple[Caller | None, float] = (None, 0.0)


class InvalidTokenError(Exception):
    """A token that is not of the issuer, not for this service, or not of this time."""


class KeysUnavailableError(Exception):
    """The issuer's keys have never been read."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs tokens, for whom, and the URL of its public keys (JWKS, RFC 7517)."""

    name: str
    audience: str
    keys_url: str


class TokenVerifier:
    """Checks tokens against the issuer's keys, which it reads now and then, and when a token names an unknown one."""

    def __init__(self, issuer: Issuer, refresh_seconds: float, metrics: Metrics) -> None:
        """Check the tokens of an issuer.

        Args:
            issuer: who signs them.
            refresh_seconds: how long keys are taken to be current. Unknown ones are asked for sooner, but no more often
                than ten times in this time, because anyone can send a token with an unknown key.
            metrics: where failures to read the keys are counted.
        """
        self._issuer = issuer
        self._pause_seconds = refresh_seconds / 10
        self._metrics = metrics
        self.keys: Mapping[str | None, jwt.PyJWK] = {}
        """The issuer's keys by id; another mapping whenever they change."""
        self._document: bytes = b""
        self._tried_at: float | None = None
        self._refreshing = asyncio.Lock()

    async def claims(self, token: bytes) -> Mapping[str, Any]:
        """What a valid token says; `exp` is among it.

        Raises:
            InvalidTokenError: it is not valid; the message says why.
            KeysUnavailableError: the issuer cannot be asked.
        """
        try:
            key = await self._key(jwt.get_unverified_header(token).get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._issuer.audience,
                issuer=self._issuer.name,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud"], "enforce_minimum_key_length": True},
            )
        except jwt.PyJWTError as error:
            raise InvalidTokenError(str(error)) from None
        return claims

    async def refresh(self) -> None:
        """Read the issuer's keys. If that fails, say so and keep the last ones."""
        self._tried_at = time.monotonic()
        try:
            document = await asyncio.to_thread(self._fetch)
            if document != self._document:
                self.keys, self._document = _usable_keys(document), document
        except (OSError, HTTPException, ValueError) as error:
            self._metrics.issuer_failures.inc()
            reason = f"{type(error).__name__}: {error}"
            _log.error("the issuer's keys cannot be read; keeping the last ones", reason=reason)

    def _fetch(self) -> bytes:
        with urlopen(self._issuer.keys_url, timeout=_FETCH_TIMEOUT_SECONDS) as response:  # noqa: S310  a setting
            document: bytes = response.read(_MAX_BYTES)
        return document

    async def _key(self, key_id: str | None) -> jwt.PyJWK:
        """The issuer's key of that id.

        Raises:
            InvalidTokenError: it has none.
            KeysUnavailableError: no keys are known.
        """
        if key_id not in self.keys:
            async with self._refreshing:
                if key_id not in self.keys and self._may_refresh():
                    await self.refresh()
        if not self.keys:
            raise KeysUnavailableError
        if key_id not in self.keys:
            raise InvalidTokenError("Signed with a key that the issuer does not have")
        return self.keys[key_id]

    def _may_refresh(self) -> bool:
        return self._tried_at is None or time.monotonic() - self._tried_at >= self._pause_seconds


class TokenCallers:
    """Knows the callers of tokens. Remembers them by the token's digest until it expires, or callers or keys change."""

    def __init__(self, verifier: TokenVerifier, callers: WatchedCallers) -> None:
        self._verifier = verifier
        self._callers = callers
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._known_with: tuple[Mapping[str | None, jwt.PyJWK], Callers] = (verifier.keys, callers.current)

    async def caller(self, token: bytes) -> Caller | None:
        """Whose token it is; None: it is valid, but no caller's.

        Raises:
            InvalidTokenError: it is not valid.
            KeysUnavailableError: that cannot be checked.
        """
        keys, callers = self._known_with
        if keys is not self._verifier.keys or callers is not self._callers.current:
            self._known.clear()
            self._known_with = (self._verifier.keys, self._callers.current)
        digest = sha256(token).digest()
        caller, expires_at = self._known.get(digest, _NOBODY)
        if time.time() < expires_at:
            return caller
        claims = await self._verifier.claims(token)
        caller = next((rule.caller for rule in self._callers.current.rules if rule.matches(claims)), None)
        if caller is not None:
            if len(self._known) >= _MAX_TOKENS:
                del self._known[next(iter(self._known))]  # the one that has been here longest
            self._known[digest] = (caller, int(claims["exp"]) + _LEEWAY_SECONDS)
        return caller


def _usable_keys(document: bytes) -> dict[str | None, jwt.PyJWK]:
    """The keys in a JWKS document that may sign tokens here, by id.

    Raises:
        ValueError: it is not such a document, or has none.
    """
    keys: dict[str | None, jwt.PyJWK] = {}
    content = json.loads(document)
    for entry in content.get("keys", ()) if isinstance(content, dict) else ():
        try:
            key = jwt.PyJWK(entry)
        except jwt.PyJWTError:
            continue  # of a kind that is not understood, as issuers may have beside others
        if key.algorithm_name in _ALGORITHMS and key.public_key_use in {None, "sig"}:
            keys[key.key_id] = key
    if not keys:
        raise ValueError(f"no key for {' or '.join(_ALGORITHMS)} in it")
    return keys
