"""The clients of a refresh: BigQuery, the version registry and the lookup service."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from foreserve.airflow_compat import BaseHook

if TYPE_CHECKING:
    from google.cloud import bigquery

    from foreserve.api_auth import ApiAuth
    from prediction_store.layout import Instance
    from prediction_store.registry import Registry


@dataclass(frozen=True, slots=True)
class Cloud:
    """The environment of the refreshes, and its clients.

    Attributes:
        project: the project of BigQuery.
        location: the location of BigQuery jobs.
        bigtable: the Bigtable instance.
        registry_app_profile: an app profile that allows single-row transactions; empty for the instance's default.
        gcp_conn_id: the Airflow connection to Google Cloud.
        api_conn_id: the Airflow connection to the lookup service.
    """

    project: str
    location: str
    bigtable: Instance
    registry_app_profile: str
    gcp_conn_id: str
    api_conn_id: str

    def bigquery(self) -> bigquery.Client:
        """A BigQuery client."""
        from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook

        hook = BigQueryHook(gcp_conn_id=self.gcp_conn_id, location=self.location, use_legacy_sql=False)
        return hook.get_client(project_id=self.project, location=self.location)

    def registry(self) -> Registry:
        """The version registry. Tasks use it by `CloudOperator.registry`, which translates errors."""
        from prediction_store.registry import Registry

        return Registry(self.bigtable, self.registry_app_profile)

    def api_url(self) -> str:
        """The base URL of the lookup service, without a slash at its end."""
        connection = BaseHook.get_connection(self.api_conn_id)
        port = f":{connection.port}" if connection.port else ""
        return f"{connection.schema or 'http'}://{connection.host}{port}"

    def api_auth(self) -> ApiAuth:
        """The authentication at the lookup service.

        It sends the connection's password as a key, and an identity token if the connection's extra names an
        `id_token_audience`.

        Raises:
            google.auth.exceptions.DefaultCredentialsError: the connection names an audience, but this process has no
                Google credentials.
        """
        from foreserve.api_auth import ApiAuth

        connection = BaseHook.get_connection(self.api_conn_id)
        return ApiAuth(connection.password, connection.extra_dejson.get("id_token_audience"))
