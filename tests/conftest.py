"""The real Bigtable and BigQuery of the local stack, for every suite that needs one. Each runs once a session."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCAL_STACK_PYTHON = ROOT / ".venvs" / "local_stack" / "bin" / "python"


@contextmanager
def running(*command: str | Path) -> Iterator[str]:
    """Run a server that says on its first line of output where it listens; yield that line."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"{command} ended with code {process.wait()}"
            yield line
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="session")
def bigtable() -> Iterator[str]:
    """The address of a Bigtable, which the clients of this process use too."""
    with (
        running(sys.executable, "-m", "local_stack.bigtable", "--port", "0") as line,
        pytest.MonkeyPatch.context() as env,
    ):
        address = line.split()[-1]
        env.setenv("BIGTABLE_EMULATOR_HOST", address)
        yield address


@pytest.fixture(scope="session")
def bigquery() -> Iterator[str]:
    """The URL of a BigQuery, which the clients of this process use too, the Storage Read API included."""
    with running(LOCAL_STACK_PYTHON, "-m", "local_stack.bigquery", "--port", "0", "--storage-port", "0") as line:
        url, storage = re.findall(r"(http://127\.0\.0\.1:\d+)|(127\.0\.0\.1:\d+)", line)[:2]
        with pytest.MonkeyPatch.context() as env:
            env.setenv("BIGQUERY_EMULATOR_HOST", url[0])
            env.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", storage[1])
            yield url[0]
