"""The version that a job works on, in the registry: its state, its updates, and the lease to write its cells."""

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
    """A version of a model, and the registry that has it. Each call opens and closes a connection."""

    instance: Instance
    app_profile: str
    model: str
    version: int

    def state(self) -> ModelState:
        """The model's current state.

        Raises:
            RegistryError: the registry does not have the model.
        """
        with Registry(self.instance, self.app_profile) as registry:
            return registry.get(self.model)

    def update(self, step: Callable[[ModelState], ModelState]) -> ModelState:
        """Make a step in the registry, and return the new state.

        Raises:
            RegistryError: the step is not allowed.
        """
        with Registry(self.instance, self.app_profile) as registry:
            return registry.update(self.model, step)

    def wait_for_stale_writes(self, state: ModelState) -> None:
        """Wait until no job can still write stale cells.

        Args:
            state: the model's state, in which this version is the latest.
        """
        seconds = (state.stale_writes_end(self.version) - now_ms()) / 1000
        if seconds > 0:
            _log.info("%s: waiting %.0f s for the write leases of stale versions to end", self.model, seconds)
            time.sleep(seconds)


class WriteLease:
    """A write lease for the cells of a version, renewed as it is used. Thread-safe.

    The purge for a later version waits until the lease has ended. So all writes by it must end by then.
    """

    def __init__(self, version: RegisteredVersion, milliseconds: int = WRITE_LEASE) -> None:
        """Lease the right to write cells of `version` for `milliseconds` at a time."""
        self._version = version
        self._milliseconds = milliseconds
        self._lock = threading.Lock()
        self._until = self._renew_at = float("-inf")  # of the monotonic clock

    def seconds_left(self) -> float:
        """The number of seconds that a write which begins now may take.

        Renews the lease in the registry when a third of it has passed.

        Raises:
            RegistryError: the registry does not expect this export any more.
            GoogleAPIError: the registry cannot be reached, and the lease has ended.
        """
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._renew()
            return max(0.0, self._until - time.monotonic())

    def _renew(self) -> None:
        asked, now = time.monotonic(), now_ms()
        try:
            version, lease = self._version.version, self._milliseconds
            state = self._version.update(lambda state: state.renew_write_lease(version, now, lease))
        except GoogleAPIError as error:
            if time.monotonic() >= self._until:
                raise
            _log.warning("the registry did not renew the write lease: %s; again in a second", error)
            self._renew_at = time.monotonic() + 1
            return
        granted = state.versions[version].write_lease_until - now
        self._until = asked + min(granted, self._milliseconds) / 1000
        self._renew_at = asked + self._milliseconds / 3000
