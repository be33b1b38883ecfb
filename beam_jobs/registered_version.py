"""The version that a job works for, as the registry has it."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from google.api_core.exceptions import GoogleAPIError

from prediction_store.layout import Instance
from prediction_store.lifecycle import WRITE_LEASE, ModelState, now_ms
from prediction_store.registry import Registry

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a model, and where its registry is."""

    instance: Instance
    app_profile: str
    model: str
    version: int

    def state(self) -> ModelState:
        """What the registry has of the model now."""
        with Registry(self.instance, self.app_profile) as registry:
            return registry.get(self.model)

    def update(self, step: Callable[[ModelState], ModelState]) -> ModelState:
        """Make a step in the registry; the state that follows."""
        with Registry(self.instance, self.app_profile) as registry:
            return registry.update(self.model, step)

    def wait_until_quiet(self, state: ModelState) -> None:
        """Wait until nothing can write cells that a purge for this version, the latest in `state`, has to delete."""
        seconds = (state.stale_writes_end(self.version) - now_ms()) / 1000
        if seconds > 0:
            _log.info("%s: %.0f s until jobs of stale versions must have stopped writing", self.model, seconds)
            time.sleep(seconds)


class WriteLease:
    """The right to write cells of a version, for a short time and renewed as it is used. Thread-safe.

    A later version's purge waits until it has run out; so whoever writes by it must stop by then.
    """

    def __init__(self, exported: RegisteredVersion, milliseconds: int = WRITE_LEASE) -> None:
        """Write cells of `exported`; ask again three times within so many `milliseconds`."""
        self._exported = exported
        self._milliseconds = milliseconds
        self._lock = threading.Lock()
        self._until = self._renew_at = float("-inf")  # of the monotonic clock

    def seconds_left(self) -> float:
        """How long a write that begins now may take. Asks the registry, unless that was done a few seconds ago.

        Raises:
            RegistryError: the registry does not expect this export any more.
        """
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._renew()
            return max(0.0, self._until - time.monotonic())

    def _renew(self) -> None:
        asked, now = time.monotonic(), now_ms()
        try:
            version, lease = self._exported.version, self._milliseconds
            state = self._exported.update(lambda state: state.renew_write_lease(version, now, lease))
        except GoogleAPIError as error:
            if time.monotonic() >= self._until:
                raise
            _log.warning("the registry did not renew the right to write: %s; again in a second", error)
            self._renew_at = time.monotonic() + 1
            return
        granted = state.versions[version].write_lease_until - now
        self._until = asked + min(granted, self._milliseconds) / 1000
        self._renew_at = asked + self._milliseconds / 3000
