"""The plugin that makes the buttons on tasks known to Airflow 2, whose web server draws them. Airflow 3 ignores it."""

from airflow.plugins_manager import AirflowPlugin

from foreserve.links import ActiveVersionLink, LatencyReportLink


class ForeservePlugin(AirflowPlugin):
    """The buttons on tasks."""

    name = "foreserve"
    operator_extra_links = [LatencyReportLink(), ActiveVersionLink()]  # noqa: RUF012  as Airflow declares it
