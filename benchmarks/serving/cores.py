"""Which CPUs a process may use: the service has its own, those that ask and answer it have the others."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Cores:
    """The CPUs of this machine, shared out."""

    service: set[int]
    others: set[int]

    @classmethod
    def of_this_machine(cls) -> Self:
        """One for the service, the next for all others, so that bigger machines measure the same."""
        first, *rest = sorted(os.sched_getaffinity(0))
        return cls({first}, set(rest[:1]) or {first})


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Have the processes that are started meanwhile by this thread run on some CPUs only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
