"""The plugin of Airflow: the buttons on tasks, and the page "Predictions" in the navigation.

Airflow 3.1 and later have the page of `foreserve.page`. In Airflow 2, the entry leads to the page of the service. The
web server of Airflow 2 also needs to know the buttons, which Airflow 3 finds by their operators.
"""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from foreserve.airflow_compat import AIRFLOW_3
from foreserve.links import ActiveVersionLink, LatencyReportLink

if not AIRFLOW_3:
    from airflow.auth.managers.models.resource_details import AccessView
    from airflow.www.auth import has_access_view
    from flask import Blueprint, redirect

    from foreserve.api_auth import api_url, service_connection

_URL = "/foreserve"
_ICON = f"{_URL}/page/icon.svg"


async def _page(scope: Any, receive: Any, send: Any) -> None:
    """The page as an ASGI application. It is imported at the first request, as every process loads plugins."""
    from foreserve.page import app

    await app(scope, receive, send)


def _redirect_to_service() -> Any:
    """A Flask blueprint that redirects users who may open Airflow's pages to the page of the service."""
    blueprint = Blueprint("foreserve", __name__)
    page = has_access_view(AccessView.WEBSITE)(lambda: redirect(f"{api_url(service_connection())}/"))
    blueprint.add_url_rule(_URL, "page", page)
    return blueprint


class ForeservePlugin(AirflowPlugin):
    """The buttons on tasks, and the page."""

    name = "foreserve"
    operator_extra_links = [LatencyReportLink(), ActiveVersionLink()]  # noqa: RUF012  as Airflow declares it
    if AIRFLOW_3:
        fastapi_apps = [{"app": _page, "url_prefix": _URL, "name": "Foreserve"}]
        external_views = [{"name": "Predictions", "href": f"{_URL}/", "url_route": "predictions", "icon": _ICON}]
    else:
        flask_blueprints = [_redirect_to_service()]
        appbuilder_menu_items = [{"name": "Predictions", "category": "Browse", "href": _URL}]
