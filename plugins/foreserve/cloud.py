"""Where a refresh works: BigQuery, Bigtable, the lookup service."""

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
    """Where BigQuery, Bigtable and the lookup service are."""

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
        """The version registry."""
        from prediction_store.registry import Registry

        return Registry(self.bigtable, self.registry_app_profile)

    def api_url(self) -> str:
        """The base URL of the lookup service."""
        connection = BaseHook.get_connection(self.api_conn_id)
        port = f":{connection.port}" if connection.port else ""
        return f"{connection.schema or 'http'}://{connection.host}{port}"

    def api_auth(self) -> ApiAuth:
        """What requests to the service show: the connection's password, and an identity token if it names an audience.

        Raises:
            google.auth.exceptions.DefaultCredentialsError: the connection names an audience, and nothing here can say
                who we are.
        """
        from foreserve.api_auth import ApiAuth

        connection = BaseHook.get_connection(self.api_conn_id)
        return ApiAuth(connection.password, connection.extra_dejson.get("id_token_audience"))
