"""Finds and runs cbtemulator, the Bigtable emulator of the Google Cloud SDK."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from local_stack.bigtable.serving import Serving, StartError

_BELOW_SDK = Path("platform/bigtable-emulator/cbtemulator")
_USUAL_SDK_ROOTS = (
    "/usr/lib/google-cloud-sdk",
    "/usr/share/google-cloud-sdk",
    "/usr/local/google-cloud-sdk",
    "/opt/google-cloud-sdk",
    "/opt/homebrew/share/google-cloud-sdk",
    "/snap/google-cloud-cli/current",
    "~/google-cloud-sdk",
)
_READY_LINE = re.compile(r"running on \S+:(\d+)")
_STOP_SECONDS = 5.0


def find(environment: Mapping[str, str]) -> Path | None:
    """Returns the cbtemulator on PATH or below a Google Cloud SDK, or None where there is none.

    Args:
        environment: where `PATH` and `CLOUDSDK_ROOT_DIR` are looked up.
    """
    return next((path for path in _candidates(environment) if os.access(path, os.X_OK)), None)


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    search_path = environment.get("PATH", "")
    if on_path := shutil.which("cbtemulator", path=search_path):
        yield Path(on_path)
    if root := environment.get("CLOUDSDK_ROOT_DIR"):
        yield Path(root) / _BELOW_SDK
    if gcloud := shutil.which("gcloud", path=search_path):
        yield Path(gcloud).resolve().parent.parent / _BELOW_SDK
    for root in _USUAL_SDK_ROOTS:
        yield Path(root).expanduser() / _BELOW_SDK


@asynccontextmanager
async def serve(binary: Path, host: str, port: int) -> AsyncIterator[Serving]:
    """Runs cbtemulator as a child for as long as the context lasts.

    Raises:
        StartError: it ended before it served.
    """
    # In a session of its own, so that Ctrl-C reaches only us and the child is stopped in order.
    process = await asyncio.create_subprocess_exec(
        binary, f"-host={host}", f"-port={port}", stdout=PIPE, start_new_session=True
    )
    try:
        yield Serving("cbtemulator", f"{host}:{await _port(process)}", lambda: _ended(process))
    finally:
        await _stop(process)


async def _port(process: asyncio.subprocess.Process) -> str:
    while process.stdout and (line := await process.stdout.readline()):
        if ready := _READY_LINE.search(line.decode(errors="replace")):
            return ready[1]
    raise StartError(f"{await _ended(process)} before it served; its own message is above")


async def _ended(process: asyncio.subprocess.Process) -> str:
    return f"cbtemulator ended with status {await process.wait()}"


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
