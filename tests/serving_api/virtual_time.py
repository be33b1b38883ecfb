"""An event loop whose clock jumps to the next timer instead of waiting for it."""

import asyncio
import selectors


class _Clock(selectors.SelectSelector):
    def __init__(self):
        super().__init__()
        self.now = 0.0

    def select(self, timeout=None):
        if timeout:
            self.now += timeout
        return super().select(0 if timeout is not None else None)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Runs timers in their order, without waiting. Nothing may wait for sockets or threads."""

    def __init__(self):
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self):
        """The time in seconds since the start."""
        return self._clock.now


def run_in_virtual_time(main):
    """Run a coroutine; return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
