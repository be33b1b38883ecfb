"""How tasks show the lookup service who they are."""

from __future__ import annotations

import asyncio
from threading import Lock
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from google.auth.credentials import Credentials

_HEADER = "Authorization"
_HEADER_BESIDE_A_KEY = "X-Serverless-Authorization"  # Cloud Run's, for services that want the other one themselves


class ApiAuth(httpx.Auth):
    """Sends a key, an identity token, or both.

    The token is made for the account that the task runs as: that of the Airflow environment, on Google Cloud. It lives
    an hour; a request that finds it about to run out has another one made first, so a load may take longer.
    """

    def __init__(self, key: str | None, audience: str | None) -> None:
        """Send what is given.

        Args:
            key: an API key, or any token that the service takes.
            audience: the URL of the service that an identity token is to be for, as Cloud Run checks it.
        """
        self._key = key
        self._credentials = _credentials(audience) if audience else None
        self._refreshing = Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Put the headers on."""
        self._refresh()
        self._sign(request)
        yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Put the headers on; other requests go on while a token is made."""
        if self._credentials and not self._credentials.valid:
            await asyncio.to_thread(self._refresh)
        self._sign(request)
        yield request

    def _refresh(self) -> None:
        """Have a token made, unless there is one with time left.

        Raises:
            google.auth.exceptions.GoogleAuthError: nobody makes one.
        """
        from google.auth.transport.requests import Request

        if self._credentials:
            with self._refreshing:
                if not self._credentials.valid:
                    self._credentials.refresh(Request())

    def _sign(self, request: httpx.Request) -> None:
        if self._key:
            request.headers[_HEADER] = f"Bearer {self._key}"
        if self._credentials:
            request.headers[_HEADER_BESIDE_A_KEY if self._key else _HEADER] = f"Bearer {self._credentials.token}"


def _credentials(audience: str) -> Credentials:
    """Who this process is to a service."""
    from airflow.providers.google.common.utils.id_token_credentials import get_default_id_token_credentials
    from google.auth.transport.requests import Request

    return get_default_id_token_credentials(audience, Request())
