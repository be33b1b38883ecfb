"""A bound on the size of what clients send, which would be kept in memory whole, and on the time that it takes."""

import asyncio

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimitMiddleware:
    """Refuses bodies above a number of bytes with 413, as soon as that many have come; those that are late with 408."""

    def __init__(self, app: ASGIApp, max_bytes: int, max_seconds: float) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; reading its body raises HTTPException once it is too long or too late."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        received = 0
        late_at = asyncio.get_running_loop().time() + self._max_seconds

        async def receive_in_bounds() -> Message:
            nonlocal received
            try:
                async with asyncio.timeout_at(late_at):
                    message = await receive()
            except TimeoutError:
                detail = f"the body did not come within {self._max_seconds:g} s; send it faster, or smaller batches"
                raise HTTPException(408, detail) from None
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, f"the body is longer than {self._max_bytes} bytes; send smaller batches")
            return message

        await self._app(scope, receive_in_bounds, send)
