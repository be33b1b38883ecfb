"""Telling that a run is late, in the way that the version of Airflow has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from foreserve.alerts import NotifierConfig


def deadline_arguments(after: timedelta, notifiers: Sequence[NotifierConfig]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a DAG, and of each of its tasks, by which `notifiers` tell of a run that has not ended in time.

    Airflow 3.1 and later have deadlines. Airflow 2 has SLAs, of scheduled runs only.

    Args:
        after: how long a run may take, from when it was queued (Airflow 2: from when it was due).
        notifiers: who tells.
    """
    try:
        from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference
    except ImportError:
        return {"sla_miss_callback": [config.build() for config in notifiers]}, {"sla": after}
    return {
        "deadline": [
            DeadlineAlert(DeadlineReference.DAGRUN_QUEUED_AT, after, _callback(config)) for config in notifiers
        ]
    }, {}


def _callback(config: NotifierConfig) -> Any:
    """The notifier on a worker; before Airflow 3.2, which cannot do that, on the triggerer."""
    from airflow.sdk.definitions import deadline

    try:
        from airflow.sdk.definitions import callback
    except ImportError:
        return getattr(deadline, "AsyncCallback")(config.notifier, kwargs=config.arguments)  # noqa: B009  typed as private
    return callback.SyncCallback(config.notifier, kwargs=config.arguments)
