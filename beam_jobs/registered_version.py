"""The version that a job works for, as the registry has it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from prediction_store.instance import Instance
from prediction_store.lifecycle import ModelState
from prediction_store.registry import Registry


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

    def update(self, step: Callable[[ModelState], ModelState]) -> None:
        """Make a step in the registry."""
        with Registry(self.instance, self.app_profile) as registry:
            registry.update(self.model, step)


class ExportWatch:
    """Looks now and then whether the export of a version is still wanted. Thread-safe."""

    _SECONDS = 10.0

    def __init__(self, exported: RegisteredVersion) -> None:
        """Watch over `exported`."""
        self._exported = exported
        self._lock = threading.Lock()
        self._looked = float("-inf")

    def __call__(self) -> None:
        """Make sure of it, unless that was done a few seconds ago.

        Raises:
            RegistryError: the registry does not expect this export any more.
        """
        with self._lock:
            if time.monotonic() - self._looked < self._SECONDS:
                return
            self._looked = time.monotonic()
        self._exported.state().require_exporting(self._exported.version)
