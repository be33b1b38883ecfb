"""The HTTP server: Granian, which reads and writes HTTP in Rust. docs/decisions/0006 compares it with uvicorn."""

from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.server.mp import MPServer

from serving_api.settings import Settings

_BACKLOG = 2048

_DRAIN_SECONDS = 8
"""The time for requests in flight at the end. Cloud Run leaves 10 seconds between SIGTERM and SIGKILL."""

LOGGING = {"version": 1, "disable_existing_loggers": False, "loggers": {"_granian": {"level": "INFO"}}}
"""The configuration that sends Granian's lines to the handlers of the service."""


def server(settings: Settings, host: str, port: int, workers: int) -> MPServer:
    """The server of the application, with `workers` processes.

    It speaks HTTP/1.1 only, because Granian closes idle connections of that protocol only.
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
