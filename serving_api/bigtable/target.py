"""Where Bigtable is, and what it wants to know of who asks: Google's, or an emulator's."""

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
    """Google's credentials, as far as they are used here (google.auth.credentials.Credentials)."""

    token: str | None
    expiry: datetime | None  # in UTC, without a time zone

    def refresh(self, request: Any) -> None:
        """Get a new token, blocking.

        Raises:
            google.auth.exceptions.GoogleAuthError: that failed.
        """


@dataclass(frozen=True, slots=True)
class Target:
    """An address, and how to speak to it: `tls` is None where in plain text, `credentials` where anybody may."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    credentials: Credentials | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Self:
        """The emulator at `BIGTABLE_EMULATOR_HOST`; if that is not set, Google's Bigtable with the default credentials.

        Raises:
            google.auth.exceptions.DefaultCredentialsError: there are none.
            ValueError: the emulator's address has no port.
        """
        if address := emulator_address(environment):
            host, _, port = address.rpartition(":")
            return cls(host.strip("[]") or "localhost", int(port))
        credentials, _ = google.auth.default(_SCOPES)
        return cls(_HOST, 443, tls_context(), credentials)

    @property
    def authority(self) -> str:
        """The address as clients name it."""
        return self.host if self.port == 443 else f"{self.host}:{self.port}"  # noqa: PLR2004  the port of HTTPS


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """What checks the server's certificate (by the system's authorities, or those in a file), and asks for HTTP/2."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    return context


async def refresh(credentials: Credentials) -> float:
    """Get a new token; the number of seconds after which it is time for the next one.

    Raises:
        google.auth.exceptions.GoogleAuthError: that failed.
    """
    await asyncio.to_thread(credentials.refresh, google.auth.transport.requests.Request())
    if credentials.expiry is None:
        return float(_REFRESH_AHEAD_SECONDS)
    left = (credentials.expiry - datetime.now(UTC).replace(tzinfo=None)).total_seconds()
    return max(left - _REFRESH_AHEAD_SECONDS, left / 2, 1.0)
