"""One run: a fresh cloud, the job in a fresh process, and a check of what it left."""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.export.cloud import INSTANCE, MODEL, SOURCE_TABLE, VERSION, Contents, cloud, contents
from prediction_store.lifecycle import Receipt

Connectors = Literal["native", "beam"]


class WrongCellsError(Exception):
    """An export did not leave what it should."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What an export of `rows` rows cost.

    Attributes:
        connectors: which of the two paths.
        rows: predictions that were exported.
        wall_seconds: from after the imports to the end of the job.
        cpu_seconds: user and system time of the job's process and its children, in the same interval.
        peak_bytes: largest resident memory of the process, above what was resident after the imports.
        digest: of every field of every cell that it left.
        bigtable: the implementation it wrote to.
    """

    connectors: Connectors
    rows: int
    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    digest: str
    bigtable: str

    @property
    def rows_per_second(self) -> float:
        """Rows per second of wall time."""
        return self.rows / self.wall_seconds

    @property
    def rows_per_cpu_second(self) -> float:
        """Rows per second of the worker's CPU time."""
        return self.rows / self.cpu_seconds


def measure(connectors: Connectors, rows: int, implementation: str) -> Measurement:
    """Export `rows` predictions with some connectors to an implementation of Bigtable.

    Raises:
        WrongCellsError: the cells or the receipt are not as many as the predictions.
        CalledProcessError: the job failed; its own message is on stderr.
    """
    with cloud(rows, implementation) as bigtable:
        cost = _run_job(connectors)
        left = contents()
    expected = Contents(rows, left.digest, Receipt(rows, 0))
    if left != expected:
        raise WrongCellsError(f"{connectors}: left {left} instead of {expected}")
    return Measurement(connectors, rows, **cost, digest=left.digest, bigtable=bigtable)


def _run_job(connectors: Connectors) -> dict[str, Any]:
    options = {
        "runner": "FnApiRunner",
        "bigtable_project": INSTANCE.project,
        "bigtable_instance": INSTANCE.instance,
        "model": MODEL,
        "version": VERSION,
        "source_table": SOURCE_TABLE,
        "connectors": connectors,
    }
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.export.job"]
    command += [f"--{name}={value}" for name, value in options.items()]
    job = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603  our own command
    cost: dict[str, Any] = json.loads(job.stdout)
    return cost
