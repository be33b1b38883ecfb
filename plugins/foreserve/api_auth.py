"""The address of the lookup service in an Airflow connection, and the authentication there."""

from __future__ import annotations

import asyncio
import os
from threading import Lock
from typing import TYPE_CHECKING

import httpx

from foreserve.airflow_compat import BaseHook

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from airflow.sdk import Connection
    from google.auth.credentials import Credentials

_CONNECTION_VARIABLE, _CONNECTION = "FORESERVE_API_CONN_ID", "prediction_api"
"""The variable with the name of the connection, and the name without it."""

_HEADER = "Authorization"
_HEADER_BESIDE_A_KEY = "X-Serverless-Authorization"
"""Cloud Run's second header for identity tokens, for services that read `Authorization` themselves."""


def service_connection() -> Connection:
    """The Airflow connection of the lookup service, in processes that have no pipeline."""
    return BaseHook.get_connection(os.environ.get(_CONNECTION_VARIABLE, _CONNECTION))


def api_url(connection: Connection) -> str:
    """The base URL of the lookup service, without a slash at its end."""
    port = f":{connection.port}" if connection.port else ""
    return f"{connection.schema or 'http'}://{connection.host}{port}"


class ApiAuth(httpx.Auth):
    """Sends a key, an identity token, or both.

    The identity token belongs to the account that the task runs as: on Google Cloud, that of the Airflow environment.
    A token is valid for one hour. It is refreshed before it expires, so a load may last longer than a token.
    """

    def __init__(self, key: str | None, audience: str | None) -> None:
        """Choose the credentials.

        Args:
            key: an API key, or any token that the service accepts; None: no key is sent.
            audience: the URL of the service, which Cloud Run compares with the identity token; None: no identity token.
        """
        self._key = key
        self._credentials = _credentials(audience) if audience else None
        self._refreshing = Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        """Add the headers to a request."""
        self._refresh()
        self._sign(request)
        yield request

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add the headers to a request. A token is refreshed in a thread, so that other requests go on."""
        if self._credentials and not self._credentials.valid:
            await asyncio.to_thread(self._refresh)
        self._sign(request)
        yield request

    def _refresh(self) -> None:
        """Refresh the identity token if it is about to expire.

        Raises:
            httpx.ConnectError: there is no token. Without one, the service cannot be reached.
        """
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        if self._credentials:
            with self._refreshing:
                if not self._credentials.valid:
                    try:
                        self._credentials.refresh(Request())
                    except GoogleAuthError as error:
                        raise httpx.ConnectError(f"no identity token: {error}") from error

    def _sign(self, request: httpx.Request) -> None:
        if self._key:
            request.headers[_HEADER] = f"Bearer {self._key}"
        if self._credentials:
            request.headers[_HEADER_BESIDE_A_KEY if self._key else _HEADER] = f"Bearer {self._credentials.token}"


def _credentials(audience: str) -> Credentials:
    from airflow.providers.google.common.utils.id_token_credentials import get_default_id_token_credentials
    from google.auth.transport.requests import Request

    return get_default_id_token_credentials(audience, Request())
