"""Buttons on a task that lead to what it made.

A task keeps the address as an XCom, so that whichever part of Airflow draws the button needs nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from foreserve.airflow_compat import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey

    from foreserve.airflow_compat import BaseOperator, Context


class _KeptLink(BaseOperatorLink):
    key: str
    """Of the XCom that has the address."""

    @classmethod
    def keep(cls, context: Context, address: str) -> None:
        """Lead to `address`."""
        context["ti"].xcom_push(key=cls.key, value=address)

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """The address, or nothing if the task did not get so far."""
        return XCom.get_value(ti_key=ti_key, key=self.key) or ""


class LatencyReportLink(_KeptLink):
    """To the latency report of a smoke test."""

    name = "Latency report"
    key = "latency_report"


class ServedVersionLink(_KeptLink):
    """To what the lookup service says of a model and its versions."""

    name = "Served version"
    key = "served_version"
