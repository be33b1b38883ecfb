"""The address of Bigtable and the credentials for it: Google's, or an emulator's."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, Self

import google.auth
import google.auth.transport.requests

from prediction_store.connection import emulator_address

_HOST = "bigtable.googleapis.com"
_SCOPES = ("https://www.googleapis.com/auth/bigtable.data.readonly",)
_REFRESH_AHEAD_SECONDS = 300


class Credentials(Protocol):
    """The part of google.auth.credentials.Credentials that is used here."""

    token: str | None
    expiry: datetime | None
    """The time in UTC, without a time zone, when the token expires."""

    def refresh(self, request: Any) -> None:
        """Get a new token. This blocks.

        Raises:
            google.auth.exceptions.GoogleAuthError: no token was issued.
        """


@dataclass(frozen=True, slots=True)
class Target:
    """An address.

    Attributes:
        host: the name of the host.
        port: the port.
        tls: verifies the server; None for a connection without TLS.
        credentials: the source of access tokens; None if the server needs none.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    credentials: Credentials | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The emulator at `BIGTABLE_EMULATOR_HOST`; if that is not set, Google's Bigtable with the default credentials.

        Raises:
            google.auth.exceptions.DefaultCredentialsError: this machine has no default credentials.
            ValueError: `BIGTABLE_EMULATOR_HOST` has no port.
        """
        if address := emulator_address(environment):
            host, _, port = address.rpartition(":")
            return cls(host.strip("[]") or "localhost", int(port))
        credentials, _ = google.auth.default(_SCOPES)
        return cls(_HOST, 443, tls_context(), credentials)

    @property
    def authority(self) -> str:
        """The value of the `:authority` header."""
        return self.host if self.port == 443 else f"{self.host}:{self.port}"  # noqa: PLR2004  the port of HTTPS


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """A TLS context for HTTP/2 that trusts the authorities in `ca_file`, or those of the system if it is None."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    return context


async def refresh(credentials: Credentials) -> float:
    """Get a new token. Return the number of seconds after which to get the next one.

    Raises:
        google.auth.exceptions.GoogleAuthError: no token was issued.
    """
    await asyncio.to_thread(credentials.refresh, google.auth.transport.requests.Request())
    if credentials.expiry is None:
        return float(_REFRESH_AHEAD_SECONDS)
    left = (credentials.expiry - datetime.now(UTC).replace(tzinfo=None)).total_seconds()
    return max(left - _REFRESH_AHEAD_SECONDS, left / 2, 1.0)
