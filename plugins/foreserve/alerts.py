"""Alerts about refreshes that fail or are late, by Airflow's notifiers of any installed provider."""

import inspect
from datetime import timedelta
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


class NotifierConfig(BaseModel):
    """One of Airflow's notifiers. Its text arguments are Jinja templates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    notifier: str = Field(
        description="class of the notifier, such as airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="arguments of the class")

    @model_validator(mode="after")
    def _can_be_built(self) -> "NotifierConfig":
        try:
            inspect.signature(self._class()).bind(**self.arguments)
        except TypeError as error:
            raise ValueError(f"arguments do not fit {self.notifier}: {error}") from error
        return self

    def build(self) -> Any:
        """Return the notifier."""
        return self._class()(**self.arguments)

    def _class(self) -> Any:
        module, _, name = self.notifier.rpartition(".")
        try:
            found = getattr(import_module(module), name)
            found.notify  # noqa: B018  every notifier has it, in every version of Airflow
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"{self.notifier} is no notifier here ({error}); install it, or correct it") from error
        return found


class Alerts(BaseModel):
    """The notifiers for tasks that have failed after all retries, and for runs that are late."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_failure: list[NotifierConfig] = Field(
        default_factory=list, description="notifiers for a task that has failed after all retries"
    )
    on_missed_deadline: list[NotifierConfig] = Field(
        default_factory=list, description="notifiers for a run that has not ended after deadline_minutes"
    )
    deadline_minutes: float | None = Field(
        None, gt=0, description="time that a run may take, in minutes from when it was queued"
    )

    @model_validator(mode="after")
    def _has_a_deadline(self) -> "Alerts":
        if self.on_missed_deadline and self.deadline_minutes is None:
            raise ValueError("on_missed_deadline needs deadline_minutes: the time that a run may take")
        return self

    def deadline_arguments(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The arguments of the DAG and of its tasks that make Airflow report a late run; empty without a deadline."""
        if self.deadline_minutes is None or not self.on_missed_deadline:
            return {}, {}
        from foreserve.airflow_compat import deadline_arguments  # the checker of pipelines does not import Airflow

        return deadline_arguments(timedelta(minutes=self.deadline_minutes), self.on_missed_deadline)
