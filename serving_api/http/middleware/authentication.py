"""Authenticates requests before any other part of them is read. The lookup of one prediction does so by itself."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serving_api.access.authenticator import Authenticator
from serving_api.access.callers import ANYONE, Caller
from serving_api.http.problems import ProblemError

_OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
_OPEN_FOLDER = "/page/"
"""Anyone may read these paths: probes have no keys, and the pages are the same wherever Foreserve runs."""

_METRICS = "/metrics"

_CALLER = "foreserve.caller"


def open_paths(*, metrics_open: bool) -> frozenset[str]:
    """The paths that anyone may read, without the files of the pages."""
    return _OPEN_PATHS | {_METRICS} if metrics_open else _OPEN_PATHS


class AuthenticationMiddleware:
    """Admits only callers, except to open paths."""

    def __init__(self, app: ASGIApp, *, metrics_open: bool) -> None:
        self._app = app
        self._open_paths = open_paths(metrics_open=metrics_open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller, or answer it with a problem."""
        if scope["type"] == "http":
            if scope["path"] in self._open_paths or scope["path"].startswith(_OPEN_FOLDER):
                scope[_CALLER] = ANYONE
            else:
                authenticator: Authenticator = scope["app"].state.service.authenticator
                try:
                    scope[_CALLER] = await authenticator.admit(dict(scope["headers"]))
                except ProblemError as problem:
                    await problem.send(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def caller_of(request: Request) -> Caller:
    """The caller that sent a request."""
    caller: Caller = request.scope[_CALLER]
    return caller
