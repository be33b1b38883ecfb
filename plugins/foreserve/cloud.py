"""The clients of a refresh: BigQuery, the version registry and the lookup service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

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
        labels: labels of every BigQuery job, by which its cost can be told apart on the bill.
        maximum_bytes_billed: the largest number of bytes that a BigQuery job may be billed for; None: any.
        job_timeout_minutes: the time after which BigQuery stops a job; None: BigQuery's own limits.
    """

    project: str
    location: str
    bigtable: Instance
    registry_app_profile: str
    gcp_conn_id: str
    api_conn_id: str
    labels: Mapping[str, str] = field(default_factory=dict)
    maximum_bytes_billed: int | None = None
    job_timeout_minutes: int | None = None

    def bigquery(self) -> bigquery.Client:
        """A BigQuery client. Its queries have the labels and the limits."""
        from airflow.providers.google.cloud.hooks.bigquery import BigQueryHook
        from google.cloud.bigquery import QueryJobConfig

        hook = BigQueryHook(gcp_conn_id=self.gcp_conn_id, location=self.location, use_legacy_sql=False)
        client = hook.get_client(project_id=self.project, location=self.location)
        client.default_query_job_config = cast("QueryJobConfig", QueryJobConfig.from_api_repr(self.job_configuration()))
        return client

    def job_configuration(self, **query: Any) -> dict[str, Any]:
        """The configuration of a query job, with the labels and the limits.

        Args:
            query: further fields of the query's configuration.
        """
        configuration: dict[str, Any] = {"query": query, "labels": dict(self.labels)}
        if self.maximum_bytes_billed is not None:
            query["maximumBytesBilled"] = str(self.maximum_bytes_billed)
        if self.job_timeout_minutes is not None:
            configuration["jobTimeoutMs"] = str(self.job_timeout_minutes * 60_000)
        return configuration

    def registry(self) -> Registry:
        """The version registry. Tasks use it by `CloudOperator.registry`, which translates errors."""
        from prediction_store.registry import Registry

        return Registry(self.bigtable, self.registry_app_profile)

    def api_url(self) -> str:
        """The base URL of the lookup service, without a slash at its end."""
        from foreserve.api_auth import api_url

        return api_url(BaseHook.get_connection(self.api_conn_id))

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
