"""Who is told, and how, when a refresh fails or is late: Airflow's own notifiers, of any provider that is installed."""

import inspect
from datetime import timedelta
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from foreserve.deadlines import deadline_arguments


class NotifierConfig(BaseModel):
    """One of Airflow's notifiers. Its text arguments are Jinja templates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    notifier: str = Field(
        description="class of the notifier, such as airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="what the class is made with")

    @model_validator(mode="after")
    def _can_be_made(self) -> "NotifierConfig":
        try:
            inspect.signature(self._class()).bind(**self.arguments)
        except TypeError as error:
            raise ValueError(f"arguments do not fit {self.notifier}: {error}") from error
        return self

    def build(self) -> Any:
        """The notifier."""
        return self._class()(**self.arguments)

    def _class(self) -> Any:
        module, _, name = self.notifier.rpartition(".")
        try:
            found = getattr(import_module(module), name)
            found.notify  # noqa: B018  what makes it a notifier, in every version of Airflow
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.notifier} is no notifier here ({error}); install it, or correct it") from error
        return found


class Alerts(BaseModel):
    """Who is told when a task has failed for good, or when a run has not ended in time."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_failure: list[NotifierConfig] = Field(
        default_factory=list, description="tell of a task that has failed for good"
    )
    on_missed_deadline: list[NotifierConfig] = Field(
        default_factory=list, description="tell of a run that has not ended after deadline_minutes"
    )
    deadline_minutes: float | None = Field(None, gt=0, description="how long a run may take, from when it was queued")

    @model_validator(mode="after")
    def _has_a_deadline(self) -> "Alerts":
        if self.on_missed_deadline and self.deadline_minutes is None:
            raise ValueError("on_missed_deadline needs deadline_minutes: how long a run may take")
        return self

    def deadline_arguments(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of the DAG, and of each of its tasks, by which Airflow tells of a late run."""
        if self.deadline_minutes is None or not self.on_missed_deadline:
            return {}, {}
        return deadline_arguments(timedelta(minutes=self.deadline_minutes), self.on_missed_deadline)
