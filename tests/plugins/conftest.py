"""A cloud for the operators (the local BigQuery and Bigtable), and what Airflow gives to a task."""

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from airflow.sdk import Asset
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.execution_time.context import OutletEventAccessors
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bq

from foreserve.cloud import Cloud
from foreserve.operators import OpenVersion, PrepareExport, Promote
from foreserve.refresh import Refresh
from foreserve.smoke_test import SmokeTest
from prediction_store.layout import Instance
from prediction_store.lifecycle import ModelState, Receipt
from refresh_factory.trigger_form import trigger_form

DATASET = "demo.operators"


@dataclass
class DagRun:
    """The run, as a task sees it."""

    dag_id: str = "refresh_m"
    run_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    run_type: str = "manual"
    triggering_user_name: str = "Ann"
    logical_date: datetime | None = None
    run_after: datetime = datetime(2026, 11, 23, 5, tzinfo=UTC)
    conf: dict = field(default_factory=dict)


@dataclass
class TaskInstance:
    """The task itself, and the XComs of the run."""

    try_number: int = 1
    unfinished_runs: set = field(default_factory=set)
    xcoms: dict = field(default_factory=dict)
    failures: dict = field(default_factory=dict)

    def xcom_push(self, key, value):
        self.xcoms[key] = value

    def xcom_pull(self, task_ids, key=None):
        if key == "failure":
            return self.failures.get(task_ids)
        return self.xcoms.get(key or task_ids)

    def get_dr_count(self, run_ids, **_):
        return len(self.unfinished_runs.intersection(run_ids))


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
    return cloud.registry()


@pytest.fixture
def context():
    """Makes the context of a task in a run that Ann triggered, with choices in the form."""

    def make_context(**params):
        form = {name: param.resolve() for name, param in trigger_form(SmokeTest()).items()}
        return {
            "dag": SimpleNamespace(
                description="Buys again?",
                params=ParamsDict(trigger_form(SmokeTest())),
                task_ids=["train", "export", "abort"],
            ),
            "params": form | params,
            "dag_run": DagRun(run_id="manual__1"),
            "ti": TaskInstance(),
            "outlet_events": OutletEventAccessors(),
        }

    return make_context


@pytest.fixture
def open_version(cloud, context, warehouse):
    """Opens a version of a model that no other test uses; returns the refresh."""
    model = f"m{uuid.uuid4().hex[:12]}"

    def open_new(*, keep_versions=4, run=None, unfinished_runs=(), **params):
        operator = OpenVersion(
            task_id="open_version",
            cloud=cloud,
            initial=ModelState(model, "customer", keep_versions=keep_versions),
            dataset=DATASET,
            create_tables=True,
        )
        given = context(**params)
        given["ti"].unfinished_runs = set(unfinished_runs)
        given["dag_run"] = run or DagRun()
        return Refresh.from_xcom(operator.execute(given))

    return open_new


@pytest.fixture
def task(cloud, context):
    """Makes an operator on a refresh (None: no version was opened), with its templates rendered as by Airflow."""

    def make_task(operator, refresh, **arguments):
        made = operator(task_id=operator.__name__.lower(), cloud=cloud, **arguments)
        given = context()
        given["ti"].xcoms["open_version"] = refresh and refresh.to_xcom()
        made.render_template_fields(given)
        return made

    return make_task


@pytest.fixture
def compute(warehouse):
    """Fills the tables of a refresh: its predictions, and the changes."""

    def run_query(refresh, predictions, changes):
        for table, rows in ((refresh.predictions_table, predictions), (refresh.changes_table, changes)):
            values = ", ".join(f"('{entity}', {payload!r})" for entity, payload in rows.items()).replace("None", "NULL")
            warehouse.query_and_wait(f"CREATE OR REPLACE TABLE `{table}` (entity_id STRING, payload STRING)")
            if rows:
                warehouse.query_and_wait(f"INSERT INTO `{table}` VALUES {values}")

    return run_query


@pytest.fixture
def prepare(task):
    def run_prepare(refresh, model="m"):
        operator = task(PrepareExport, refresh, bigquery_model=model, purge_task_id="purge", export_task_id="export")
        return operator.choose_branch({})

    return run_prepare


@pytest.fixture
def promote(context, task):
    """Promotes the version of a refresh; returns the asset's event."""
    asset = Asset("churn predictions")

    def run_promote(refresh, **params):
        given = context(**params)
        task(Promote, refresh, asset=asset).execute(given)
        return given["outlet_events"][asset].extra

    return run_promote


@pytest.fixture
def promoted(open_version, compute, prepare, promote, registry):
    """Runs a whole refresh without writing cells; returns it."""

    def refresh_and_promote(**settings):
        refresh = open_version(**settings)
        compute(refresh, {"a": "1"}, {"a": "1"})
        registry.update(
            refresh.model, lambda state: state.mark_purged(refresh.version, above=state.active or 0, began=0)
        )
        prepare(refresh, refresh.candidate_model)
        registry.update(refresh.model, lambda state: state.complete_export(refresh.version, Receipt(1, 0)))
        promote(refresh)
        registry.update(refresh.model, lambda state: state.confirm(refresh.version))
        return refresh

    return refresh_and_promote
