"""Serve Bigtable on this machine: `python -m local_stack.bigtable --port 8086`."""

import argparse
import asyncio
import os
import signal
import socket
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal

from local_stack.bigtable import Serving, StartError, Timing, cbtemulator


def main() -> None:
    """Serve until SIGTERM or SIGINT. If Bigtable cannot start, exit with a message on stderr."""
    arguments = _parser().parse_args()
    try:
        asyncio.run(_run(arguments))
    except StartError as error:
        sys.exit(f"Bigtable: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m local_stack.bigtable", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8086, help="port to listen on; 0 takes a free one (default %(default)s)"
    )
    parser.add_argument(
        "--implementation",
        choices=("auto", "cbtemulator", "embedded"),
        default="auto",
        help="auto takes Google's emulator (cbtemulator) if it is installed, else embedded (default %(default)s)",
    )
    parser.add_argument(
        "--garbage-collection",
        choices=("eager", "lazy", "off"),
        default="eager",
        help="when the embedded Bigtable collects the garbage of a row: at each touch, at one in ten, or never, as "
        "production may for a week (default %(default)s); cbtemulator has its own time",
    )
    parser.add_argument(
        "--keep", type=Path, help="file with the stack's tables: read at the start, written at the end (default: none)"
    )
    return parser


async def _run(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    timing: Timing = arguments.garbage_collection
    async with _serve(arguments.implementation, arguments.host, arguments.port, timing) as serving:
        if arguments.keep:
            await _copy("load", serving, arguments.keep)
        sys.stdout.write(f"Bigtable ({serving.implementation}) is serving at {serving.address}\n")
        sys.stdout.flush()
        stopped, ended = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(serving.ended())
        await asyncio.wait((stopped, ended), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            raise StartError(f"{ended.result()} unexpectedly; start Bigtable again")
        ended.cancel()
        if arguments.keep:
            await _copy("save", serving, arguments.keep)


async def _copy(direction: Literal["load", "save"], serving: Serving, file: Path) -> None:
    """Load the tables from a file, or save them. A thread does it, because the embedded Bigtable serves in this one.

    Raises:
        StartError: the file cannot be read or written.
    """
    from local_stack.bigtable import backup  # noqa: PLC0415  takes two seconds, which other uses do not need

    copy = backup.load if direction == "load" else backup.save
    try:
        await asyncio.to_thread(copy, serving.address, file)
    except OSError as error:
        raise StartError(f"{file}: {error.strerror}") from error


def _serve(
    implementation: str, host: str, port: int, garbage_collection: Timing
) -> AbstractAsyncContextManager[Serving]:
    _refuse_taken(host, port)
    binary = None if implementation == "embedded" else cbtemulator.find(os.environ)
    if binary is not None:
        return cbtemulator.serve(binary, host, port)
    if implementation == "cbtemulator":
        raise StartError(
            "cbtemulator was not found on PATH or in a Google Cloud SDK (CLOUDSDK_ROOT_DIR, gcloud's folder, "
            "the usual places); install the SDK component 'bigtable' or use --implementation embedded"
        )
    from local_stack.bigtable.embedded import server  # noqa: PLC0415  takes two seconds, which cbtemulator does not need

    return server.serve(host, port, garbage_collection)


def _refuse_taken(host: str, port: int) -> None:
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise StartError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error


if __name__ == "__main__":
    main()
