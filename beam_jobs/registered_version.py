"""The version that a job works for, as the registry has it."""

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
