"""BigQuery and Bigtable for tests and benchmarks: in memory, on free ports, until a `with` block ends."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_stack.settings import ROOT

__all__ = ["BIGQUERY", "BIGTABLE", "ROOT", "running"]

BIGTABLE = (sys.executable, "-m", "local_stack.bigtable", "--port", "0")
BIGQUERY = (ROOT / ".venvs" / "local_bigquery" / "bin" / "local-bigquery", "--port", "0", "--storage-port", "0")


@contextmanager
def running(*command: str | Path) -> Iterator[str]:
    """Run a server until the context ends. Yield the first line of its output, which has its addresses.

    Raises:
        RuntimeError: the server ended before it printed the line.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  the commands above
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise RuntimeError(f"{command} ended with code {process.wait()}")
            yield line
        finally:
            process.terminate()
            process.wait(20)
