"""The command of the service: `python -m serving_api`."""

import argparse
import os
import socket
import sys
from contextlib import ExitStack
from tempfile import TemporaryDirectory

import structlog

from serving_api.access.callers_file import read_callers_file
from serving_api.server import server
from serving_api.settings import METRICS_FOLDER_VARIABLE, Settings, is_loopback, settings_help
from serving_api.telemetry.logs import configure_logs

_log = structlog.get_logger(__name__)


def main() -> None:
    """Serve until SIGTERM or SIGINT; then answer the requests in flight, and exit with 0."""
    arguments = _arguments()
    try:
        settings = Settings.from_environment()
        if settings.callers_file:
            read_callers_file(settings.callers_file)
    except ValueError as error:
        sys.exit(str(error))
    configure_logs(settings.log_level)
    host = arguments.host
    if settings.auth == "none" and not settings.allow_anonymous and not is_loopback(host):
        sys.exit(
            f"SERVING_AUTH is none, and at {host} anyone could read predictions: set it to api_keys or jwt; or listen "
            "at 127.0.0.1; or, if a proxy in front admits only callers, set SERVING_ALLOW_ANONYMOUS=true"
        )
    port = _free_port(host, arguments.port)
    _log.info("listening", url=f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    _log.info("settings", workers=arguments.workers, **settings.for_the_log())
    with ExitStack() as stack:
        if arguments.workers > 1:
            folder = stack.enter_context(TemporaryDirectory(prefix="foreserve-metrics-"))
            # prometheus_client reads the variable when it is imported, which is later.
            os.environ[METRICS_FOLDER_VARIABLE] = folder
        server(settings, host, port, arguments.workers).serve()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m serving_api",
        description="Answer lookups of predictions from Bigtable.",
        epilog=settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0: any free one (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes that answer requests (%(default)s)")
    return parser.parse_args()


def _free_port(host: str, port: int) -> int:
    """Check that no other process listens on the port, as the server would share it. Port 0 selects a free one."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, port), family=family) as probe:
            free: int = probe.getsockname()[1]
            return free
    except (OSError, OverflowError) as error:
        sys.exit(f"cannot listen on {host} port {port}: {error}; choose another with --port (0: any free one)")


if __name__ == "__main__":
    main()
