"""One run: new emulators, the job in a new process, and a check of the cells that it wrote."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.export.cloud import INSTANCE, MODEL, SOURCE_TABLE, VERSION, Contents, cloud, contents
from benchmarks.serving.candidates import FEAST_PYTHON
from local_stack.servers import BIGTABLE, ROOT, running
from prediction_store.lifecycle import Receipt

Connectors = Literal["native", "beam", "feast"]


class WrongCellsError(Exception):
    """An export wrote other cells than it should."""


@dataclass(frozen=True, slots=True)
class ExportRun:
    """The cost of one export.

    Attributes:
        connectors: "native" for the export job, "beam" for Beam's own connectors, "feast" for Feast's materialization.
        rows: the number of predictions.
        wall_seconds: the time of the job, without its imports.
        cpu_seconds: user and system time of the job's process and its children in the same interval.
        peak_bytes: the largest resident memory of the process, above that after the imports.
        digest: a digest of all fields of all cells; empty for Feast, which stores them otherwise.
        bigtable: the implementation of Bigtable.
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
        """Rows per second."""
        return self.rows / self.wall_seconds

    @property
    def rows_per_cpu_second(self) -> float:
        """Rows per second of the worker's CPU time."""
        return self.rows / self.cpu_seconds


def measure(connectors: Connectors, rows: int, implementation: str) -> ExportRun:
    """Export `rows` predictions to an implementation of Bigtable.

    Raises:
        WrongCellsError: the number of cells or the receipt is wrong.
        CalledProcessError: the job failed. Its message is on standard error.
    """
    if connectors == "feast":
        return _materialize(rows, implementation)
    with cloud(rows, implementation) as bigtable:
        cost = _run_job(connectors)
        written = contents()
    expected = Contents(rows, written.digest, Receipt(rows, 0))
    if written != expected:
        raise WrongCellsError(f"{connectors}: wrote {written} instead of {expected}")
    return ExportRun(connectors, rows, **cost, digest=written.digest, bigtable=bigtable)


def _materialize(rows: int, implementation: str) -> ExportRun:
    with running(*BIGTABLE, "--implementation", implementation) as line:
        environment = {**os.environ, "BIGTABLE_EMULATOR_HOST": line.split()[-1]}
        command: list[str | Path] = [FEAST_PYTHON, "-W", "ignore", "-m", "benchmarks.export.feast_job", str(rows)]
        job = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)  # noqa: S603  the command is ours
    cost: dict[str, Any] = json.loads(job.stdout)
    return ExportRun("feast", rows, **cost, digest="", bigtable=line.split("(")[1].split(")")[0])


def _run_job(connectors: Connectors) -> dict[str, Any]:
    options = {
        "runner": "FnApiRunner",
        "bigtable_project": INSTANCE.project,
        "bigtable_instance": INSTANCE.instance,
        "model": MODEL,
        "version": VERSION,
        "source_table": SOURCE_TABLE,
    }
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.export.job", connectors]
    command += [f"--{name}={value}" for name, value in options.items()]
    job = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603  the command is ours
    cost: dict[str, Any] = json.loads(job.stdout)
    return cost
