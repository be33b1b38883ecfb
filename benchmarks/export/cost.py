"""The time and the memory of a part of this process."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def measured() -> Iterator[dict[str, float]]:
    """Yield a dictionary that has the cost when the context has ended: time, CPU time, and memory above that before."""
    cost: dict[str, float] = {}
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak to the memory that is resident now
    resident, cpu, started = _memory("VmRSS"), _cpu_seconds(), time.perf_counter()
    yield cost
    cost["wall_seconds"] = time.perf_counter() - started
    cost["cpu_seconds"] = _cpu_seconds() - cpu
    cost["peak_bytes"] = _memory("VmHWM") - resident


def _cpu_seconds() -> float:
    """User and system time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _memory(field: str) -> int:
    """Resident memory of this process in bytes: now (`VmRSS`), or its peak (`VmHWM`)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[field].split()[0]) * 1024
