"""The entry "Predictions" in the navigation of Airflow 2, which leads to the page of the lookup service."""

from __future__ import annotations

from typing import Any

from airflow.auth.managers.models.resource_details import AccessView
from airflow.www.auth import has_access_view
from flask import Blueprint, redirect

from foreserve.api_auth import api_url, service_connection


def redirect_to_service(url: str) -> Blueprint:
    """A page at `url` that redirects users who may open Airflow's pages to the page of the lookup service."""
    made = Blueprint("foreserve", __name__)

    def page() -> Any:
        return redirect(f"{api_url(service_connection())}/")

    made.add_url_rule(url, view_func=has_access_view(AccessView.WEBSITE)(page))
    return made
