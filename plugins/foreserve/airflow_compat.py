"""What Airflow 2 and Airflow 3 have under different names. Everything of Airflow's own is imported from here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow.sdk import Asset, BaseOperator, BaseOperatorLink, Param
    from airflow.sdk.execution_time.xcom import XCom

    AIRFLOW_3 = True
else:
    try:
        from airflow.sdk import Asset, BaseOperator, BaseOperatorLink, Param
        from airflow.sdk.execution_time.xcom import XCom

        AIRFLOW_3 = True
    except ModuleNotFoundError:
        from airflow.datasets import Dataset as Asset
        from airflow.models.baseoperator import BaseOperator
        from airflow.models.baseoperatorlink import BaseOperatorLink
        from airflow.models.param import Param
        from airflow.models.xcom import XCom

        AIRFLOW_3 = False

__all__ = ["Asset", "BaseOperator", "BaseOperatorLink", "Param", "XCom", "named_asset"]


def named_asset(name: str, uri: str) -> Asset:
    """An asset; Airflow 2 knows it by its URI alone."""
    return Asset(name=name, uri=uri) if AIRFLOW_3 else Asset(uri)
