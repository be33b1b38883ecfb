"""The settings of all DAGs, from environment variables that start with `FORESERVE_`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints
from pydantic_settings import BaseSettings, SettingsConfigDict

from foreserve.alerts import Alerts
from foreserve.cloud import Cloud
from foreserve.smoke_test.report import ReportFolder
from prediction_store.layout import Instance

CloudFolder = Annotated[str, StringConstraints(pattern=r"^gs://[a-z0-9]")]

DEPLOYED = Path(__file__).with_name("deployed.env")
"""The file in which a deployment names the image that belongs to its code.

It is a file, not an environment variable, because it changes together with the code and needs no restart of Airflow."""


class Dataflow(BaseSettings):
    """Options of Dataflow jobs, named as in Beam. Beam and Dataflow choose those that are not set."""

    model_config = SettingsConfigDict(env_prefix="FORESERVE_DATAFLOW_", env_file=DEPLOYED)

    temp_location: CloudFolder = Field(description="folder for temporary files, best in the jobs' region")
    staging_location: CloudFolder | None = Field(default=None, description="folder for code; else temp_location")
    service_account_email: str | None = Field(default=None, description="service account of the workers")
    machine_type: str | None = Field(default=None, description="machine type of the workers")
    max_num_workers: int = Field(default=1, ge=1, description="largest number of workers")
    subnetwork: str | None = Field(default=None, description="regions/REGION/subnetworks/NAME")
    use_public_ips: bool | None = Field(default=None, description="no: the subnetwork has Private Google Access")
    sdk_container_image: str | None = Field(default=None, description="built from beam_jobs/Dockerfile")
    image_python: str | None = Field(default=None, description="Python of that image")
    labels: dict[str, str] = Field(default_factory=dict, description="JSON: labels, beside the model")


class Environment(BaseSettings):
    """The Google Cloud project of the refreshes, or the local stack in its place."""

    model_config = SettingsConfigDict(env_prefix="FORESERVE_")

    project: str = Field(description="project of BigQuery and Bigtable")
    dataset: str = Field(default="foreserve", description="BigQuery dataset for models and predictions")
    location: str = Field(default="US", description="location of the BigQuery jobs")
    labels: dict[str, str] = Field(default_factory=dict, description="JSON: labels of the BigQuery jobs, for billing")
    bigtable_instance: str = Field(description="id of the Bigtable instance")
    export_app_profile: str = Field(default="", description="app profile of the export: single cluster, low priority")
    registry_app_profile: str = Field(default="", description="app profile of the registry: single-row transactions")
    create_tables: bool = Field(default=False, description="refreshes create missing Bigtable tables")
    scheduled: bool = Field(default=True, description="schedules apply; no: DAGs are triggered by hand")
    beam_runner: Literal["DataflowRunner", "FnApiRunner"] = "DataflowRunner"
    rows_without_dataflow: int = Field(
        default=200_000, ge=0, description="exports and purges of fewer rows run in the task, not on Dataflow"
    )
    region: str = Field(default="us-central1", description="region of the Dataflow jobs")
    beam_options: dict[str, Any] = Field(default_factory=dict, description="JSON: further options of the Beam jobs")
    python: str = Field(default="python3", description="interpreter that has apache-beam, for launching the jobs")
    poll_seconds: float = Field(default=10.0, gt=0, description="seconds between looks at a BigQuery job")
    retries: int = Field(default=2, ge=0, description="further tries of a failed task")
    retry_delay_seconds: float = Field(default=60.0, ge=0)
    gcp_conn_id: str = "google_cloud_default"
    reports: str | None = Field(default=None, description="folder for latency reports: a path or gs://BUCKET/FOLDER")
    reports_url: str | None = Field(default=None, description="address of that folder in a browser, if it has another")
    alerts: Alerts = Field(default=Alerts(), description="JSON: alerts of pipelines without their own")
    api_conn_id: str = Field(default="prediction_api", description="Airflow connection of the lookup service")

    def cloud(self) -> Cloud:
        """The clients of the operators."""
        return Cloud(
            project=self.project,
            location=self.location,
            bigtable=Instance(self.project, self.bigtable_instance),
            registry_app_profile=self.registry_app_profile,
            gcp_conn_id=self.gcp_conn_id,
            api_conn_id=self.api_conn_id,
            labels=self.labels,
        )

    def report_folder(self) -> ReportFolder | None:
        """The folder of latency reports; None: no reports are written."""
        return ReportFolder(self.reports, self.reports_url, self.gcp_conn_id) if self.reports else None

    def job_options(self) -> dict[str, Any]:
        """Beam's options for the jobs.

        Raises:
            pydantic.ValidationError: an environment variable that Dataflow needs is missing or wrong.
        """
        options = Dataflow().model_dump(exclude_none=True) if self.beam_runner == "DataflowRunner" else {}
        return options | self.beam_options
