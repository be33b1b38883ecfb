"""Buttons on tasks in Airflow's UI.

A task stores the address of its button as an XCom. So the part of Airflow that draws the button needs nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreserve.airflow_compat import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from foreserve.airflow_compat import BaseOperator, Context


class _StoredLink(BaseOperatorLink):
    key: str
    """The key of the XCom that holds the address."""

    @classmethod
    def store(cls, context: Context, address: str) -> None:
        """Store the address.

        Args:
            context: the context of the task that has the button.
            address: the address.
        """
        context["ti"].xcom_push(key=cls.key, value=address)

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address; empty if the task has not stored one."""
        return XCom.get_value(ti_key=ti_key, key=self.key) or ""


class LatencyReportLink(_StoredLink):
    """The latency report of a smoke test."""

    name = "Latency report"
    key = "latency_report"


class ActiveVersionLink(_StoredLink):
    """The lookup service's page about the model and its versions."""

    name = "Active version"
    key = "active_version"
