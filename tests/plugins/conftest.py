"""The operators' cloud: the local BigQuery and Bigtable, and a run of a refresh up to where a test needs it."""

import json
import uuid
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from foreserve.cloud import Cloud
from foreserve.operators import OpenVersion
from foreserve.refresh import Refresh
from prediction_store.instance import Instance
from prediction_store.lifecycle import ModelState
from refresh_factory.pipeline import SmokeTest
from refresh_factory.trigger_form import trigger_form

DATASET = "demo.operators"


@pytest.fixture(scope="session")
def cloud(bigtable, bigquery):
    with pytest.MonkeyPatch.context() as environment:
        google = {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "project": "demo"}}
        environment.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", json.dumps(google))
        environment.setenv("AIRFLOW_CONN_PREDICTION_API", "http://127.0.0.1:1")
        yield Cloud(
            project="demo",
            location="US",
            bigtable=Instance("demo", "operators"),
            registry_app_profile="",
            gcp_conn_id="google_cloud_default",
            api_conn_id="prediction_api",
        )


@pytest.fixture(scope="session")
def warehouse(bigquery):
    client = bq.Client("demo", credentials=AnonymousCredentials())
    client.create_dataset(DATASET)
    return client


@pytest.fixture
def registry(cloud):
    with cloud.registry() as registry:
        yield registry


class TaskInstance:
    """Keeps what a task pushes."""

    def __init__(self):
        self.xcoms = {}
        self.try_number = 1

    def xcom_push(self, key, value):
        self.xcoms[key] = value


@pytest.fixture
def context():
    """Makes the context of a task in a run that Ann triggered, with some choices in the form."""

    def context(**params):
        form = {name: param.resolve() for name, param in trigger_form(SmokeTest()).items()}
        return {
            "params": form | params,
            "dag_run": SimpleNamespace(
                run_id="manual__1",
                run_type="manual",
                triggering_user_name="Ann",
                logical_date=None,
                run_after=datetime(2026, 11, 23, 5, tzinfo=UTC),
            ),
            "ti": TaskInstance(),
            "outlet_events": OutletEventAccessors(),
        }

    return context


@pytest.fixture
def open_version(cloud, context, warehouse):
    """Opens a version of a model that nothing else uses; the refresh."""
    model = f"m{uuid.uuid4().hex[:12]}"

    def open_version(*, keep_versions=4, **params):
        operator = OpenVersion(
            task_id="open_version",
            cloud=cloud,
            initial=ModelState(model, "customer", keep_versions=keep_versions),
            dataset=DATASET,
            create_tables=True,
        )
        return Refresh.from_xcom(operator.execute(context(**params)))

    return open_version


@pytest.fixture
def task(cloud):
    """Makes an operator that works on a refresh."""

    def task(operator, refresh, **arguments):
        return operator(
            task_id=operator.__name__.lower(), cloud=cloud, refresh=json.dumps(refresh.to_xcom()), **arguments
        )

    return task
