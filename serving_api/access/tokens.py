"""Signed tokens (JWT, RFC 7519) of an OpenID Connect issuer, such as Google's for service accounts, or IAP."""

import asyncio
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPException
from typing import Any
from urllib.request import urlopen

import jwt
import structlog

from serving_api.access.callers import Caller
from serving_api.access.watched_callers import Callers, WatchedCallers
from serving_api.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_ALGORITHMS = ("RS256", "ES256")
"""The algorithms of Google and IAP. With a symmetric one, the public key of the issuer would be the secret."""

_LEEWAY_SECONDS = 30
_FETCH_TIMEOUT_SECONDS = 3.0
_MAX_DOCUMENT_BYTES = 1 << 20
_MAX_TOKENS = 10_000
_UNKNOWN: tuple[Caller | None, float] = (None, 0.0)


class InvalidTokenError(Exception):
    """A token is not signed by the issuer, not for this service, expired, or not valid yet."""


class KeysUnavailableError(Exception):
    """The keys of the issuer have not been read yet."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """The issuer of tokens, the audience of tokens for this service, and the URL of the keys (JWKS, RFC 7517)."""

    name: str
    audience: str
    keys_url: str


class TokenVerifier:
    """Verifies tokens with the keys of the issuer. It reads the keys again when a token names an unknown one."""

    def __init__(self, issuer: Issuer, refresh_seconds: float, metrics: Metrics) -> None:
        """Prepare to verify the tokens of an issuer.

        Args:
            issuer: the issuer.
            refresh_seconds: the time between two calls of `refresh`. Tokens with unknown keys cause at most ten more
                reads in this time, because anyone can send such a token.
            metrics: counts failures to read the keys.
        """
        self._issuer = issuer
        self._pause_seconds = refresh_seconds / 10
        self._metrics = metrics
        self.keys: Mapping[str | None, jwt.PyJWK] = {}
        """The keys of the issuer by id. The mapping is replaced when the keys change."""
        self._document: bytes = b""
        self._tried_at = -math.inf
        self._refreshing = asyncio.Lock()

    async def claims(self, token: bytes) -> Mapping[str, Any]:
        """Verify a token, and return its claims, among them `exp`.

        Raises:
            InvalidTokenError: the token is not valid; the message says why.
            KeysUnavailableError: the keys of the issuer have not been read yet.
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
        """Read the keys of the issuer. If that fails, log it and keep the last ones."""
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
            document: bytes = response.read(_MAX_DOCUMENT_BYTES)
        return document

    async def _key(self, key_id: str | None) -> jwt.PyJWK:
        """The key of that id. If it is unknown, the keys are read again.

        Raises:
            InvalidTokenError: the issuer has no such key.
            KeysUnavailableError: the keys of the issuer have not been read yet.
        """
        if key_id not in self.keys:
            async with self._refreshing:
                if key_id not in self.keys and time.monotonic() - self._tried_at >= self._pause_seconds:
                    await self.refresh()
        if not self.keys:
            raise KeysUnavailableError
        if key_id not in self.keys:
            raise InvalidTokenError("Signed with a key that the issuer does not have")
        return self.keys[key_id]


class TokenCallers:
    """Finds the callers of tokens. A result is kept until the token expires, or the callers or keys change."""

    def __init__(self, verifier: TokenVerifier, callers: WatchedCallers) -> None:
        self._verifier = verifier
        self._callers = callers
        self._known: dict[bytes, tuple[Caller, float]] = {}
        self._known_with: tuple[Mapping[str | None, jwt.PyJWK], Callers] = (verifier.keys, callers.current)

    async def caller(self, token: bytes) -> Caller | None:
        """The caller that a valid token belongs to; None if it belongs to none.

        Raises:
            InvalidTokenError: the token is not valid.
            KeysUnavailableError: the keys of the issuer have not been read yet.
        """
        keys, callers = self._known_with
        if keys is not self._verifier.keys or callers is not self._callers.current:
            self._known.clear()
            self._known_with = (self._verifier.keys, self._callers.current)
        digest = sha256(token).digest()
        caller, expires_at = self._known.get(digest, _UNKNOWN)
        if time.time() < expires_at:
            return caller
        claims = await self._verifier.claims(token)
        caller = next((rule.caller for rule in self._callers.current.rules if rule.matches(claims)), None)
        if caller is not None:
            if len(self._known) >= _MAX_TOKENS:
                # The first entry is the oldest one.
                del self._known[next(iter(self._known))]
            self._known[digest] = (caller, int(claims["exp"]) + _LEEWAY_SECONDS)
        return caller


def _usable_keys(document: bytes) -> dict[str | None, jwt.PyJWK]:
    """The keys in a JWKS document with an accepted algorithm, by id.

    Raises:
        ValueError: the document is not JSON, or has no such key.
    """
    keys: dict[str | None, jwt.PyJWK] = {}
    content = json.loads(document)
    for entry in content.get("keys", ()) if isinstance(content, dict) else ():
        try:
            key = jwt.PyJWK(entry)
        except jwt.PyJWTError:
            # An issuer may have keys of types that are not supported beside others.
            continue
        if key.algorithm_name in _ALGORITHMS and key.public_key_use in {None, "sig"}:
            keys[key.key_id] = key
    if not keys:
        raise ValueError(f"no key for {' or '.join(_ALGORITHMS)} in it")
    return keys
