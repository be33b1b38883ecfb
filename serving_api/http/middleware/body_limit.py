"""Limits the size of request bodies, which are kept in memory as a whole, and the time that they take to arrive."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving_api.http.problems import late_body, long_body

MAX_BYTES = 8 << 20
"""The largest body. A thousand of the longest ids take half of it."""


class BodyLimitMiddleware:
    """Answers 413 when a body exceeds `MAX_BYTES`, and 408 when it takes longer than `max_seconds`."""

    def __init__(self, app: ASGIApp, max_seconds: float) -> None:
        self._app = app
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on. Reading its body raises ProblemError once it is too long or too late."""
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
            if received > MAX_BYTES:
                raise long_body(MAX_BYTES)
            return message

        await self._app(scope, receive_within_limits, send)
