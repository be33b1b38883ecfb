"""Tells Airflow 2, whose web server makes the links itself, that it may. Airflow 3 needs nothing of ours there."""

from airflow.plugins_manager import AirflowPlugin

from foreserve.links import LatencyReportLink, ServedVersionLink


class ForeservePlugin(AirflowPlugin):
    """The buttons on tasks."""

    name = "foreserve"
    operator_extra_links = [LatencyReportLink(), ServedVersionLink()]  # noqa: RUF012  as Airflow declares it
