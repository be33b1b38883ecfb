"""Requests and responses of REST methods: JSON bodies, pages, forwarding to the emulator."""

import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import httpx
from starlette.requests import Request
from starlette.responses import Response

from local_bigquery.backend.emulator import Emulator
from local_bigquery.errors import BigQueryError

T = TypeVar("T")

_HOP_BY_HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}


async def json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body of a request.

    Raises:
        BigQueryError: `parseError` if the body is anything else.
    """
    content = await request.body()
    try:
        if request.headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
        body = json.loads(content)
    except (OSError, EOFError, ValueError) as error:
        raise BigQueryError("parseError", f"The request body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise BigQueryError("parseError", f"The request body must be a JSON object, not {type(body).__name__}")
    return body


def json_object(body: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a field of a body that must be an object; an empty object if the field is absent or null.

    Raises:
        BigQueryError: `invalid` if the field is anything else.
    """
    value = body.get(name)
    if not isinstance(value, dict | None):
        raise BigQueryError("invalid", f"{name} must be a JSON object, not {type(value).__name__}")
    return value or {}


def page(items: Sequence[T], request: Request, *, default_size: int) -> tuple[Sequence[T], dict[str, str]]:
    """Return the items that `pageToken` and `maxResults` select, and the `nextPageToken` if there are more.

    Raises:
        BigQueryError: `invalid` if `pageToken` or `maxResults` is not a number of at least 0.
    """
    try:
        start = int(request.query_params.get("pageToken") or 0)
        size = int(request.query_params.get("maxResults") or default_size)
    except ValueError as error:
        raise BigQueryError("invalid", f"pageToken and maxResults must be numbers: {error}") from error
    if start < 0 or size < 0:
        raise BigQueryError("invalid", "pageToken and maxResults cannot be below 0")
    end = start + size
    return items[start:end], {"nextPageToken": str(end)} if end < len(items) else {}


async def forward(emulator: Emulator, request: Request, content: bytes) -> httpx.Response:
    """Send a request with some content to the emulator, and return the response."""
    headers = {name: value for name, value in request.headers.items() if name not in _HOP_BY_HOP}
    return await emulator.request(
        request.method,
        request.url.path,
        params=list(request.query_params.multi_items()),
        headers=headers,
        content=content,
    )


def returned(response: httpx.Response) -> Response:
    """Return a response of the emulator as a response of the gateway."""
    # httpx has decoded the content.
    excluded = {*_HOP_BY_HOP, "content-encoding"}
    headers = {name: value for name, value in response.headers.items() if name not in excluded}
    return Response(response.content, response.status_code, headers)
