"""What the operators have in common."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from foreserve.airflow_compat import AirflowFailException, BaseOperator
from foreserve.refresh import Refresh
from prediction_store.lifecycle import RegistryError, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from foreserve.cloud import Cloud
    from prediction_store.lifecycle import ModelState


class CloudOperator(BaseOperator):
    """A task that talks to the cloud."""

    def __init__(self, *, cloud: Cloud, **kwargs: Any) -> None:
        """Work in `cloud`."""
        super().__init__(**kwargs)
        self.cloud = cloud


class RefreshOperator(CloudOperator):
    """A task on an open version."""

    template_fields: Sequence[str] = ("refresh",)

    def __init__(self, *, refresh: str, **kwargs: Any) -> None:
        """Work on `refresh`: a template that gives the XCom of `OpenVersion` as JSON."""
        super().__init__(**kwargs)
        self.refresh = refresh

    @property
    def current(self) -> Refresh:
        """The refresh, once the task runs."""
        return Refresh.from_xcom(json.loads(self.refresh))

    def step(self, step: Callable[[ModelState], ModelState]) -> ModelState:
        """Make a step in the registry, and say that the run goes on; the state that follows.

        Raises:
            AirflowFailException: the step is not allowed; trying again would not help.
        """
        refresh, now = self.current, now_ms()
        try:
            with self.cloud.registry() as registry:
                return registry.update(refresh.model, lambda state: step(state).renew_run_lease(refresh.version, now))
        except RegistryError as error:
            raise AirflowFailException(str(error)) from error
