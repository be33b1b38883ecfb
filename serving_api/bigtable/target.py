"""The address of Bigtable and the credentials for it: Google's, or an emulator's."""

import asyncio
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, Self

import google.auth
import google.auth.transport.requests
from google.api_core import universe

from prediction_store.connection import emulator_address

_UNIVERSE_VARIABLE = "GOOGLE_CLOUD_UNIVERSE_DOMAIN"
_HTTPS_PORT = 443
_SCOPES = ("https://www.googleapis.com/auth/bigtable.data.readonly",)
_REFRESH_AHEAD_SECONDS = 300

_NEXT_ADDRESS_SECONDS = 0.25
"""The time after which the next address is tried beside the ones before. Source: RFC 8305, section 5."""


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
    def from_environment(cls, endpoint: str = "", environment: Mapping[str, str] = os.environ) -> Self:
        """The emulator at `BIGTABLE_EMULATOR_HOST`; if that is not set, Google's Bigtable with the default credentials.

        Args:
            endpoint: the host, or host and port, of a regional endpoint or of Private Service Connect
                (https://docs.cloud.google.com/bigtable/docs/regional-endpoints). If it is empty, the global endpoint of
                the universe in `GOOGLE_CLOUD_UNIVERSE_DOMAIN`, by default `googleapis.com`.
            environment: the environment variables.

        Raises:
            google.auth.exceptions.DefaultCredentialsError: this machine has no default credentials.
            ValueError: `BIGTABLE_EMULATOR_HOST` has no port, or the credentials are of another universe.
        """
        if address := emulator_address(environment):
            host, _, port = address.rpartition(":")
            return cls(host.strip("[]") or "localhost", int(port))
        domain = universe.determine_domain(None, environment.get(_UNIVERSE_VARIABLE))
        credentials, _ = google.auth.default(_SCOPES)
        universe.compare_domains(domain, credentials)
        host, _, port = (endpoint or f"bigtable.{domain}").partition(":")
        return cls(host, int(port or _HTTPS_PORT), tls_context(), credentials)

    @property
    def authority(self) -> str:
        """The value of the `:authority` header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _HTTPS_PORT else f"{host}:{self.port}"

    async def open_socket(self) -> socket.socket:
        """Open a TCP connection to the first address that answers, those of IPv4 first.

        An address that does not answer delays the next one by a quarter of a second: networks drop IPv6 in silence.
        uvloop's `create_connection` does not do so.

        Raises:
            OSError: the name has no address, or all addresses refuse the connection. There is no time limit.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        found.sort(key=lambda address: address[0] != socket.AF_INET)
        attempts: set[asyncio.Task[socket.socket]] = set()
        failure = OSError(f"{self.host} has no address")
        try:
            while found or attempts:
                if found:
                    family, _, _, _, address = found.pop(0)
                    attempts.add(asyncio.create_task(_connect(family, address)))
                seconds = _NEXT_ADDRESS_SECONDS if found else None
                done, attempts = await asyncio.wait(attempts, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    error = attempt.exception()
                    if error is None:
                        attempts |= done - {attempt}
                        return attempt.result()
                    if not isinstance(error, OSError):
                        raise error
                    failure = error
            raise failure
        finally:
            for attempt in attempts:
                if not attempt.cancel() and not attempt.exception():
                    attempt.result().close()


async def _connect(family: int, address: Any) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.settimeout(0)
        await asyncio.get_running_loop().sock_connect(opened, address)
    except BaseException:
        opened.close()
        raise
    return opened


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
