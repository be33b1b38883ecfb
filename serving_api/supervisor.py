"""Background tasks: one that raises an exception is logged, counted and started again."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from serving_api.telemetry.metrics import Metrics

_log = structlog.get_logger(__name__)

_PAUSE_SECONDS = (0.5, 30.0)
"""The pause before the first restart of a task, and the longest pause before later ones."""

_HEALTHY_SECONDS = 60.0
"""The time that a task must run for its next pause to be the first one again."""


class Supervisor:
    """Runs background tasks until the end of its context. Expected errors are handled by the tasks themselves."""

    def __init__(self, metrics: Metrics) -> None:
        """Create a supervisor without tasks. `metrics` counts failures by the names of the tasks."""
        self._metrics = metrics
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel the tasks, and wait for their ends."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Start a task.

        Args:
            name: its name in metrics and logs, one of few.
            run: does the work. It is called again after it raised an exception, and not after it returned.
        """
        # The metric begins with 0, so that Prometheus sees the first failure as an increase.
        self._metrics.task_failures.labels(name)
        task = asyncio.create_task(self._supervise(name, run), name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _supervise(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        first, longest = _PAUSE_SECONDS
        pause = first
        while True:
            started = loop.time()
            try:
                await run()
            except Exception:  # noqa: BLE001  the next attempt may succeed, whatever failed
                self._metrics.task_failures.labels(name).inc()
                _log.exception("a background task failed and will be started again", task=name)
            else:
                return
            if loop.time() - started >= _HEALTHY_SECONDS:
                pause = first
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  spreads attempts; no secret
            pause = min(2 * pause, longest)
