"""One export in a process of its own: `python -m benchmarks.export.job OPTIONS`, with the options of the export job.

Prints what the job cost, from after all imports to its end, as a line of JSON.
"""

import json
import logging
import resource
import sys
import time
from pathlib import Path

from beam_jobs import export_predictions
from local_stack.beam_connectors import on_local_stack


def main() -> None:
    """Run the export."""
    logging.basicConfig(level=logging.ERROR)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew at what is resident now
    resident, cpu, started = _memory("VmRSS"), _cpu_seconds(), time.perf_counter()
    with on_local_stack():
        export_predictions.run(sys.argv[1:])
    cost = {
        "wall_seconds": time.perf_counter() - started,
        "cpu_seconds": _cpu_seconds() - cpu,
        "peak_bytes": _memory("VmHWM") - resident,
    }
    sys.stdout.write(json.dumps(cost) + "\n")


def _cpu_seconds() -> float:
    """User and system time of all threads of this process, and of the children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _memory(field: str) -> int:
    """A size in bytes from the status of this process, in `VmRSS` (resident now) or `VmHWM` (its peak)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) * 1024


if __name__ == "__main__":
    main()
