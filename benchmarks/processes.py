"""The CPU time and the memory of processes while they run, by samples."""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from contextlib import suppress
from operator import itemgetter
from typing import NamedTuple, Self

import psutil

_INTERVAL_SECONDS = 0.1
_MEBIBYTE = 1024**2


class Usage(NamedTuple):
    """The use of a group of processes: CPU seconds so far, and MiB of its largest and of all processes."""

    cpu_seconds: float
    largest_mib: float
    all_mib: float


class Usages:
    """Samples of the use of groups of processes, ten a second, until the `with` block ends."""

    def __init__(self, groups: Mapping[str, int]) -> None:
        """Prepare to watch groups, each a process by its id, with all its descendants."""
        self._groups = {name: psutil.Process(process) for name, process in groups.items()}
        self._samples: dict[str, list[tuple[float, Usage]]] = {name: [] for name in groups}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def between(self, group: str, start: float, end: float) -> Usage:
        """The use of a group from one time to another, in seconds since the epoch: CPU time spent, largest memory."""
        samples = self._samples[group]
        inside = [usage for at, usage in samples if start - _INTERVAL_SECONDS <= at <= end + _INTERVAL_SECONDS]
        return Usage(
            self._cpu_seconds(group, end) - self._cpu_seconds(group, start),
            max((usage.largest_mib for usage in inside), default=0.0),
            max((usage.all_mib for usage in inside), default=0.0),
        )

    def _cpu_seconds(self, group: str, at: float) -> float:
        """The CPU time that a group had spent at a time, interpolated between samples."""
        samples = self._samples[group]
        after = bisect_left(samples, at, key=itemgetter(0))
        if not 0 < after < len(samples):
            return samples[min(after, len(samples) - 1)][1].cpu_seconds if samples else 0.0
        (early, before), (late, then) = samples[after - 1], samples[after]
        share = (at - early) / (late - early)
        return before.cpu_seconds + share * (then.cpu_seconds - before.cpu_seconds)

    def _watch(self) -> None:
        while not self._end.wait(_INTERVAL_SECONDS):
            for name, root in self._groups.items():
                with suppress(psutil.NoSuchProcess):
                    self._samples[name].append((time.time(), use((root, *root.children(recursive=True)))))


def use(processes: Iterable[psutil.Process]) -> Usage:
    """The use of processes now. Their CPU time has that of their children that have ended."""
    cpu, memory = 0.0, [0.0]
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            cpu += times.user + times.system + times.children_user + times.children_system
            memory.append(process.memory_info().rss / _MEBIBYTE)
    return Usage(cpu, max(memory), sum(memory))
