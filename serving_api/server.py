"""The HTTP server: Granian, which reads and writes HTTP in Rust. docs/decisions/0006 compares it with uvicorn."""

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.server.mp import MPServer

from serving_api.settings import Settings

_BACKLOG = 2048
_DRAIN_SECONDS = 8  # below the 10 that Cloud Run leaves between SIGTERM and SIGKILL

LOGGING = {"version": 1, "disable_existing_loggers": False, "loggers": {"_granian": {"level": "INFO"}}}
"""Granian's own lines go where all others go."""


def server(settings: Settings, host: str, port: int, workers: int) -> MPServer:
    """The server of the application, in processes of its own.

    Only HTTP/1.1, where every connection that sends no complete request head in time is cut.
    """
    return MPServer(
        "serving_api.app:from_environment",
        factory=True,
        address=host,
        port=port,
        workers=workers,
        interface=Interfaces.ASGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=settings.max_connections,
        http1_settings=HTTP1Settings(header_read_timeout=round(settings.idle_seconds * 1000)),
        workers_kill_timeout=_DRAIN_SECONDS,
        log_dictconfig=LOGGING,
    )
