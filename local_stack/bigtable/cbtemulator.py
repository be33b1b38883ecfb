"""Find and run cbtemulator, the Bigtable emulator of the Google Cloud SDK."""

import asyncio
import os
import re
import shutil
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from local_stack.bigtable import Serving, StartError

_PATH_IN_SDK = Path("platform/bigtable-emulator/cbtemulator")
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
    """Return the cbtemulator on PATH or in a Google Cloud SDK, or None if there is none.

    Args:
        environment: the variables `PATH` and `CLOUDSDK_ROOT_DIR`.
    """
    return next((path for path in _candidates(environment) if os.access(path, os.X_OK)), None)


def _candidates(environment: Mapping[str, str]) -> Iterator[Path]:
    search_path = environment.get("PATH", "")
    if on_path := shutil.which("cbtemulator", path=search_path):
        yield Path(on_path)
    if root := environment.get("CLOUDSDK_ROOT_DIR"):
        yield Path(root) / _PATH_IN_SDK
    if gcloud := shutil.which("gcloud", path=search_path):
        yield Path(gcloud).resolve().parent.parent / _PATH_IN_SDK
    for root in _USUAL_SDK_ROOTS:
        yield Path(root).expanduser() / _PATH_IN_SDK


@asynccontextmanager
async def serve(binary: Path, host: str, port: int) -> AsyncIterator[Serving]:
    """Run cbtemulator as a child process until the context ends.

    Raises:
        StartError: cbtemulator ended before it served.
    """
    # A session of its own keeps Ctrl-C away from the child. This process stops the child instead.
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
    raise StartError(f"{await _ended(process)} before it served; see its message above")


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
