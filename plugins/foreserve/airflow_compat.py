"""Compatibility with the supported versions of Airflow (2.11, 3.1 and later).

All other modules import Airflow's own classes from here. A name that differs between the versions has its newest name.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from airflow.configuration import conf
from airflow.providers.standard.operators.branch import BaseBranchOperator

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from airflow.providers.standard.operators.hitl import HITLOperator
    from airflow.sdk import (
        DAG,
        Asset,
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        Param,
        TaskGroup,
        TriggerRule,
    )
    from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    from airflow.sdk.execution_time.xcom import XCom

    from foreserve.alerts import NotifierConfig

    AIRFLOW_3 = True
    HITL_UNAVAILABLE: str | None = None
else:
    try:
        from airflow.sdk import (
            DAG,
            Asset,
            BaseHook,
            BaseOperator,
            BaseOperatorLink,
            BaseSensorOperator,
            Context,
            Param,
            TaskGroup,
            TriggerRule,
        )
        from airflow.sdk.execution_time.xcom import XCom

        AIRFLOW_3 = True
    except ModuleNotFoundError:
        from airflow.datasets import Dataset as Asset
        from airflow.hooks.base import BaseHook
        from airflow.models.baseoperator import BaseOperator
        from airflow.models.baseoperatorlink import BaseOperatorLink
        from airflow.models.dag import DAG
        from airflow.models.param import Param
        from airflow.models.xcom import XCom
        from airflow.sensors.base import BaseSensorOperator
        from airflow.utils.context import Context
        from airflow.utils.task_group import TaskGroup
        from airflow.utils.trigger_rule import TriggerRule

        AIRFLOW_3 = False
    try:
        from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    except ImportError:  # before 3.2
        from airflow.exceptions import AirflowException, AirflowFailException, AirflowSkipException
    # Before 3.1, this import fails with an exception of Airflow's own, whose module depends on the version.
    try:
        from airflow.providers.standard.operators.hitl import HITLOperator

        HITL_UNAVAILABLE = None
    except Exception as error:  # noqa: BLE001  see above
        HITLOperator = BaseOperator
        HITL_UNAVAILABLE = str(error)

__all__ = [
    "DAG",
    "HITL_UNAVAILABLE",
    "AirflowException",
    "AirflowFailException",
    "AirflowSkipException",
    "Asset",
    "BaseBranchOperator",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "HITLOperator",
    "Param",
    "TaskGroup",
    "TriggerRule",
    "XCom",
    "deadline_arguments",
    "due_time",
    "has_ended",
    "named_asset",
    "run_url",
    "triggering_user",
]

# HITL_UNAVAILABLE is the reason why this Airflow cannot ask a person, or None if it can. If it cannot, HITLOperator is
# an operator without that ability.

_UNFINISHED = ["queued", "running"]


def named_asset(name: str, uri: str) -> Asset:
    """An asset. Airflow 2 identifies it by its URI alone."""
    return Asset(name=name, uri=uri) if AIRFLOW_3 else Asset(uri)


def due_time(dag_run: Any) -> datetime:
    """The time at which a run was due: the end of its data interval if it has one, else the time of the trigger."""
    due: datetime = getattr(dag_run, "run_after", None) or dag_run.data_interval_end
    return due


def triggering_user(dag_run: Any) -> str | None:
    """The user who triggered a run; None if nobody did, or if Airflow does not record users (before 3.1)."""
    return getattr(dag_run, "triggering_user_name", None) or None


def run_url(context: Context) -> str:
    """The address of the page of a task's run. It is unique, also among runs of other Airflow environments."""
    run: Any = context["dag_run"]
    return _runs_url(run.dag_id) + quote(run.run_id, safe="")


def has_ended(context: Context, url: str) -> bool:
    """Return True if a run of the same DAG has ended or been deleted. False for runs of other Airflow environments.

    Args:
        context: the context of a task.
        url: the run, by the address of its page.
    """
    run: Any = context["dag_run"]
    pages = _runs_url(run.dag_id)
    if not url.startswith(pages):
        return False
    run_id = unquote(url.removeprefix(pages))
    if AIRFLOW_3:
        task_instance: Any = context["ti"]
        return bool(task_instance.get_dr_count(dag_id=run.dag_id, run_ids=[run_id], states=_UNFINISHED) == 0)
    from airflow.models.dagrun import DagRun

    return not any(found.state in _UNFINISHED for found in DagRun.find(dag_id=run.dag_id, run_id=run_id))


def _runs_url(dag_id: str) -> str:
    """The start of the addresses of a DAG's runs.

    If no address is configured, the names of the Composer environment take its place. Otherwise, two environments would
    have the same addresses, and each would take the other's runs for runs of its own that have ended.
    """
    names = [os.environ.get(f"COMPOSER_{name}", "") for name in ("LOCATION", "ENVIRONMENT")]
    base = conf.get("api" if AIRFLOW_3 else "webserver", "base_url", fallback="") or "/".join(filter(None, names))
    return f"{base}/dags/{dag_id}/" + ("runs/" if AIRFLOW_3 else "grid?dag_run_id=")


def deadline_arguments(after: timedelta, notifiers: Sequence[NotifierConfig]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of a DAG and of its tasks that make Airflow report a run that is late.

    Airflow 3.1 and later have deadlines. Airflow 2 has SLAs, which apply to scheduled runs only.

    Args:
        after: the time that a run may take, from when it was queued (in Airflow 2: from when it was due).
        notifiers: the notifiers that report it.
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
    """The notifier as a callback that runs on a worker. Before Airflow 3.2, it can only run in the triggerer."""
    from airflow.sdk.definitions import deadline

    try:
        from airflow.sdk.definitions import callback
    except ImportError:
        return getattr(deadline, "AsyncCallback")(config.notifier, kwargs=config.arguments)  # noqa: B009  typed as private
    return callback.SyncCallback(config.notifier, kwargs=config.arguments)
