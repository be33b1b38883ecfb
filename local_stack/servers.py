"""BigQuery and Bigtable for as long as a `with` lasts, on free ports and in memory: for tests and benchmarks."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
LOCAL_STACK_PYTHON = ROOT / ".venvs" / "local_stack" / "bin" / "python"

BIGTABLE = (sys.executable, "-m", "local_stack.bigtable", "--port", "0")
BIGQUERY = (LOCAL_STACK_PYTHON, "-m", "local_stack.bigquery", "--port", "0", "--storage-port", "0")


@contextmanager
def running(*command: str | Path) -> Iterator[str]:
    """Run a server that says on its first line of output where it listens; yield that line.

    Raises:
        RuntimeError: it ended before it said so.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own commands
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"{command} ended with code {process.wait()}")
            yield line
        finally:
            process.terminate()
            process.wait(20)
