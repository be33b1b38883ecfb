"""What Airflow 2 and Airflow 3 have under different names. Everything of Airflow's own is imported from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from airflow.configuration import conf
from airflow.providers.standard.operators.branch import BaseBranchOperator

if TYPE_CHECKING:
    from airflow.sdk import (
        DAG,
        Asset,
        BaseHook,
        BaseOperator,
        BaseOperatorLink,
        BaseSensorOperator,
        Context,
        Param,
        TriggerRule,
    )
    from airflow.sdk.exceptions import AirflowException, AirflowFailException
    from airflow.sdk.execution_time.xcom import XCom

    AIRFLOW_3 = True
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
        from airflow.utils.trigger_rule import TriggerRule

        AIRFLOW_3 = False
    try:
        from airflow.sdk.exceptions import AirflowException, AirflowFailException
    except ImportError:  # before 3.2
        from airflow.exceptions import AirflowException, AirflowFailException

__all__ = [
    "DAG",
    "AirflowException",
    "AirflowFailException",
    "Asset",
    "BaseBranchOperator",
    "BaseHook",
    "BaseOperator",
    "BaseOperatorLink",
    "BaseSensorOperator",
    "Context",
    "Param",
    "TriggerRule",
    "XCom",
    "has_ended",
    "named_asset",
    "run_url",
]

_UNFINISHED = ["queued", "running"]


def named_asset(name: str, uri: str) -> Asset:
    """An asset; Airflow 2 knows it by its URI alone."""
    return Asset(name=name, uri=uri) if AIRFLOW_3 else Asset(uri)


def run_url(context: Context) -> str:
    """The page of the run that a task belongs to: tells runs apart, also those of other Airflows."""
    run: Any = context["dag_run"]
    return _runs_url(run.dag_id) + quote(run.run_id, safe="")


def has_ended(context: Context, url: str) -> bool:
    """Whether Airflow knows that a run of the same DAG, given by its page, has ended or been deleted.

    Of another Airflow's runs it knows nothing: then the answer is no.
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
    if AIRFLOW_3:
        return f"{conf.get('api', 'base_url', fallback='')}/dags/{dag_id}/runs/"
    return f"{conf.get('webserver', 'base_url', fallback='')}/dags/{dag_id}/grid?dag_run_id="
