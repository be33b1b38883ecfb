"""Starts the service: `python -m serving_api`."""

import argparse
import os
import signal
import socket
import sys
from tempfile import TemporaryDirectory

import structlog
import uvicorn
from uvicorn.supervisors import Multiprocess

from serving_api.logs import configure_logs
from serving_api.settings import Settings

_log = structlog.get_logger(__name__)

_BACKLOG = 2048
_DRAIN_SECONDS = 8  # below the 10 that Cloud Run leaves between SIGTERM and SIGKILL


def main() -> None:
    """Serve until told to stop; then answer what is in flight, and exit with 0."""
    arguments = _arguments()
    configure_logs()
    try:
        Settings.from_environment()
    except ValueError as error:
        sys.exit(str(error))
    listener = _listen(arguments.host, arguments.port)
    config = uvicorn.Config(
        "serving_api.app:from_environment",
        factory=True,
        workers=arguments.workers,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    host, port = listener.getsockname()[:2]
    _log.info("listening", url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    if arguments.workers == 1:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again once it has drained
        uvicorn.Server(config).run(sockets=[listener])
    else:
        with TemporaryDirectory(prefix="foreserve-metrics-") as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # where the workers share their metrics
            Multiprocess(config, sockets=[listener]).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m serving_api", description="Serve predictions from Bigtable.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0: any that is free (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer requests (%(default)s)")
    return parser.parse_args()


def _listen(host: str, port: int) -> socket.socket:
    """Listen before anything else starts, so that a port that is taken is said at once and by its number."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {host} port {port}: {error}; choose another with --port (0: any that is free)")


if __name__ == "__main__":
    main()
