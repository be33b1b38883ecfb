"""Servers that look nothing up: FastAPI at its cheapest, and an ASGI application without a framework."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Response

from benchmarks.serving.predictions import CONSTANT

Message = dict[str, Any]

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"%d" % len(CONSTANT)), (b"content-type", b"application/json")],
}
_BODY = {"type": "http.response.body", "body": CONSTANT}

empty_fastapi = FastAPI()


@empty_fastapi.get("/constant")
async def constant() -> Response:
    """Answer with the constant."""
    return Response(CONSTANT, media_type="application/json")


async def bare_asgi(
    scope: dict[str, Any], _receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer every request with the constant."""
    if scope["type"] != "http":
        return  # servers continue without a lifespan
    await send(_START)
    await send(_BODY)
