"""The version that a job works on, in the registry: its state, its updates, and the lease to write its cells."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from prediction_store.layout import Instance
from prediction_store.lifecycle import WRITE_LEASE, ModelState, RegistryBusyError, now_ms
from prediction_store.registry import Registry

_RENEWAL_PAUSE = 1.0  # seconds between attempts to renew a lease

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A version of a model, and the registry that has it."""

    instance: Instance
    app_profile: str
    model: str
    version: int

    def state(self) -> ModelState:
        """The model's current state.

        Raises:
            RegistryError: the registry does not have the model.
        """
        return Registry(self.instance, self.app_profile).get(self.model)

    def update(self, step: Callable[[ModelState], ModelState]) -> ModelState:
        """Make a step in the registry, and return the new state.

        Raises:
            RegistryError: the step is not allowed.
        """
        return Registry(self.instance, self.app_profile).update(self.model, step)

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
    """A write lease for the cells of a version, renewed as it is used. One per process; thread-safe.

    The purge for a later version waits until the lease has ended. So all writes by it must end by then. While the
    registry does not answer, nothing is written, and no work is lost.
    """

    def __init__(self, version: RegisteredVersion, patience: float, milliseconds: int = WRITE_LEASE) -> None:
        """Lease the right to write cells of `version`.

        Args:
            version: the version.
            patience: the seconds for which a write waits for a lease.
            milliseconds: the duration of the lease.
        """
        self._registry = Registry(version.instance, version.app_profile, retry_seconds=0)
        self._version = version
        self._patience = patience
        self._milliseconds = milliseconds
        self._lock = threading.Lock()
        self._until = self._renew_at = float("-inf")  # of the monotonic clock
        self._failure: Exception | None = None

    def seconds_left(self) -> float:
        """The number of seconds that a write which begins now may take; more than 0.

        Renews the lease in the registry when a third of it has passed. If that fails after the lease has ended, waits
        and tries again.

        Raises:
            RegistryError: the registry does not expect this export any more.
            TimeoutError: the lease could not be renewed while this call waited.
        """
        give_up = time.monotonic() + self._patience
        while True:
            with self._lock:
                if time.monotonic() >= self._renew_at:
                    self._renew()
                left, failure = self._until - time.monotonic(), self._failure
            if left > 0:
                return left
            if time.monotonic() >= give_up:
                raise TimeoutError(f"the write lease was not renewed within {self._patience:g} s: {failure}")
            time.sleep(_RENEWAL_PAUSE)

    def _renew(self) -> None:
        """Try once to renew the lease."""
        asked, now = time.monotonic(), now_ms()
        version, lease = self._version.version, self._milliseconds
        try:
            state = self._registry.update(
                self._version.model, lambda state: state.renew_write_lease(version, now, lease)
            )
        except (grpc.RpcError, RegistryBusyError) as error:
            _log.warning("the registry did not renew the write lease; again in a second: %s", error)
            self._failure, self._renew_at = error, time.monotonic() + _RENEWAL_PAUSE
            return
        self._until = asked + min(state.write_lease_until - now, lease) / 1000
        self._renew_at = asked + lease / 3000
