"""Asks who sends a request, before anything else of it is read. The route of lookups asks for itself."""

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serving_api.access.authenticator import Access
from serving_api.access.callers import ANYONE, Caller
from serving_api.http.problems import PROBLEM, ProblemError

_OPEN_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
_OPEN_FOLDER = "/page/"
"""What anyone may read: probes have no keys, and the pages and documents are the same wherever Foreserve runs."""

_METRICS = "/metrics"

_CALLER = "foreserve.caller"


def open_paths(*, metrics_open: bool) -> frozenset[str]:
    """The paths that anyone may read, but for the files of the pages."""
    return _OPEN_PATHS | {_METRICS} if metrics_open else _OPEN_PATHS


class AccessMiddleware:
    """Lets nobody past but callers, except to paths that are open."""

    def __init__(self, app: ASGIApp, *, metrics_open: bool) -> None:
        self._app = app
        self._open_paths = open_paths(metrics_open=metrics_open)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            if scope["path"] in self._open_paths or scope["path"].startswith(_OPEN_FOLDER):
                scope[_CALLER] = ANYONE
            else:
                access: Access = scope["app"].state.service.access
                try:
                    scope[_CALLER] = await access.admit(dict(scope["headers"]))
                except ProblemError as problem:
                    scope[PROBLEM] = problem.title
                    await problem.response()(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def admitted(request: Request) -> Caller:
    """Who sent a request."""
    caller: Caller = request.scope[_CALLER]
    return caller
