"""One export in a process of its own: `python -m benchmarks.export.job native|beam OPTIONS`.

The options are those of the export job. Prints the job's time and memory, without the imports, as a line of JSON.
"""

import json
import logging
import resource
import sys
import time
from pathlib import Path

from beam_jobs import export_predictions
from benchmarks.export import stock_connectors

_EXPORTS = {"native": export_predictions.run, "beam": stock_connectors.run}


def main() -> None:
    """Run the export, and print its cost."""
    logging.basicConfig(level=logging.ERROR)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the memory that is resident now
    resident, cpu, started = _memory("VmRSS"), _cpu_seconds(), time.perf_counter()
    _EXPORTS[sys.argv[1]](sys.argv[2:])
    cost = {
        "wall_seconds": time.perf_counter() - started,
        "cpu_seconds": _cpu_seconds() - cpu,
        "peak_bytes": _memory("VmHWM") - resident,
    }
    sys.stdout.write(json.dumps(cost) + "\n")


def _cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _memory(field: str) -> int:
    """Resident memory of this process in bytes: now (`VmRSS`), or its peak (`VmHWM`)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) * 1024


if __name__ == "__main__":
    main()
