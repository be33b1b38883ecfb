"""No framework: the least that an ASGI server can be asked for."""

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.serving.predictions import CONSTANT

Message = dict[str, Any]

_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"%d" % len(CONSTANT)), (b"content-type", b"application/json")],
}
_BODY = {"type": "http.response.body", "body": CONSTANT}


async def app(
    scope: dict[str, Any], _receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer."""
    if scope["type"] != "http":
        return  # no lifespan: servers go on without
    await send(_START)
    await send(_BODY)
