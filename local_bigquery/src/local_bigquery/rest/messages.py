"""What the REST methods have in common: JSON bodies, answers in pages, and how a request is passed on."""

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

_NOT_PASSED_ON = {"connection", "content-length", "keep-alive", "transfer-encoding"}
_NOT_PASSED_BACK = {*_NOT_PASSED_ON, "content-encoding"}  # httpx has decoded the content


async def json_body(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request carries.

    Raises:
        BigQueryError: `parseError`, if it carries anything else.
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
    """Return a field of a request's body that is an object; an empty one, if it is absent or null.

    Raises:
        BigQueryError: `invalid`, if it is anything else.
    """
    value = body.get(name)
    if not isinstance(value, dict | None):
        raise BigQueryError("invalid", f"{name} must be a JSON object, not {type(value).__name__}")
    return value or {}


def page(items: Sequence[T], request: Request, *, default_size: int) -> tuple[Sequence[T], dict[str, str]]:
    """Return the items that `pageToken` and `maxResults` ask for, and the `nextPageToken`, if there are more.

    Raises:
        BigQueryError: `invalid`, if either is not a number from 0 on.
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
    """Send a request to the emulator, with this content, and return the answer."""
    headers = {name: value for name, value in request.headers.items() if name not in _NOT_PASSED_ON}
    return await emulator.request(
        request.method,
        request.url.path,
        params=list(request.query_params.multi_items()),
        headers=headers,
        content=content,
    )


def passed_back(response: httpx.Response) -> Response:
    """Return the emulator's answer as the gateway's."""
    headers = {name: value for name, value in response.headers.items() if name not in _NOT_PASSED_BACK}
    return Response(response.content, response.status_code, headers)
