"""Limits the size of requests, and the time that their bodies take to arrive. Bodies are kept in memory as a whole."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving_api.http.problems import late_body, long_body, long_target

MAX_BODY_BYTES = 8 << 20
"""The largest body. A thousand of the longest ids take half of it."""

MAX_TARGET_BYTES = 16_384
"""The longest path with query. The longest percent-encoded entity id has 12,273 bytes."""


def is_target_long(scope: Scope) -> bool:
    """Return True if the path and the query of a request are too long."""
    return len(scope["raw_path"]) + len(scope["query_string"]) > MAX_TARGET_BYTES


class LimitsMiddleware:
    """Answers 414 for a path and query above `MAX_TARGET_BYTES`, 413 for a body above `MAX_BODY_BYTES`.

    A body that takes longer than `max_seconds` is answered with 408.
    """

    def __init__(self, app: ASGIApp, max_seconds: float) -> None:
        self._app = app
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. Reading its body raises ProblemError once it is too long or too late."""
        if scope["type"] == "http" and is_target_long(scope):
            await long_target(MAX_TARGET_BYTES).send(scope, receive, send)
            return
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        received = 0
        deadline = asyncio.get_running_loop().time() + self._max_seconds

        async def receive_within_limits() -> Message:
            nonlocal received
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise late_body(self._max_seconds) from None
            received += len(message.get("body", b""))
            if received > MAX_BODY_BYTES:
                raise long_body(MAX_BODY_BYTES)
            return message

        await self._app(scope, receive_within_limits, send)
