import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.apache.beam.operators.beam import BeamRunPythonPipelineOperator
from airflow.providers.google.cloud.operators.bigquery import BigQueryInsertJobOperator
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization
from apache_beam.options.pipeline_options import PipelineOptions
from pydantic import ValidationError

from foreserve.operators.base import keep_failure
from refresh_factory.dag import refresh_dag
from refresh_factory.documentation import TASKS
from refresh_factory.environment import Dataflow
from refresh_factory.pipeline import PIPELINES, PipelineError

DAGS = Path(__file__).parents[2] / "dags"
DECISIONS = {"abort_version", "release_run", "roll_back"}
FILE = DAGS / "pipelines" / "repeat_purchase" / "dag.py"


@pytest.fixture
def dag():
    return refresh_dag(str(FILE))


def test_airflow_loads_every_dag_of_the_folder():
    bag = DagBag(DAGS)
    assert bag.import_errors == {}
    refreshes = {f"refresh_{path.parent.name}" for path in DAGS.glob("pipelines/*/pipeline.yaml")}
    assert set(bag.dag_ids) == refreshes | DECISIONS | {"outcomes_repeat_purchase"}
    outcomes = bag.dags["outcomes_repeat_purchase"]
    assert outcomes.fileloc == str(FILE)
    assert [task.task_id for task in outcomes.tasks] == ["measure_outcomes"]


def test_decisions_run_in_a_new_airflow_that_pauses_new_dags():
    dags = DagBag(DAGS).dags
    assert {dag_id for dag_id, dag in dags.items() if dag.is_paused_upon_creation is False} == DECISIONS


def test_a_refresh_chains_training_export_and_smoke_test(dag):
    assert isinstance(dag.get_task("train"), BigQueryInsertJobOperator)
    assert isinstance(dag.get_task("export"), BeamRunPythonPipelineOperator)
    assert dag.get_task("export").task_id in dag.get_task("train").get_flat_relative_ids(upstream=False)
    assert "smoke_test" in dag.get_task("export").get_flat_relative_ids(upstream=False)
    assert "promote" in dag.get_task("smoke_test").get_flat_relative_ids(upstream=False)


def test_no_promotion_without_every_gate(dag):
    upstream = dag.get_task("promote").get_flat_relative_ids(upstream=True)
    assert {
        "quality_gate",
        "measure",
        "prediction_gate",
        "export",
        "await_export",
        "wait_for_replication",
        "smoke_test",
    } <= upstream


def test_the_export_begins_when_the_purge_has_ended(dag):
    assert dag.get_task("export").upstream_task_ids == {"prepare_export", "await_purge"}
    assert dag.get_task("await_purge").upstream_task_ids == {"purge"}
    assert dag.get_task("wait_for_replication").upstream_task_ids == {"await_export"}


def test_the_graph_is_five_groups_which_open_to_the_tasks(dag):
    groups = dag.task_group.children
    assert {group_id: list(group.children) for group_id, group in groups.items()} == {
        "Prepare": ["open_version", "retrain"],
        "Train": ["train", "evaluate", "quality_gate", "kept_champion"],
        "Predict": ["predict", "measure", "prediction_gate"],
        "Export": [
            "changes",
            "prepare_export",
            "purge",
            "await_purge",
            "export",
            "await_export",
            "wait_for_replication",
        ],
        "Release": ["smoke_test", "promote", "confirm", "clean_up", "abort"],
    }
    assert all(group.tooltip for group in groups.values())


def test_waiting_for_a_job_holds_no_worker_slot(dag):
    for task_id in ("export", "purge"):
        assert dag.get_task(f"await_{task_id}").mode == "reschedule"


def test_dataflow_options_are_those_of_beam(monkeypatch):
    settings = {
        "SERVICE_ACCOUNT_EMAIL": "workers@demo.iam.gserviceaccount.com",
        "MAX_NUM_WORKERS": "20",
        "USE_PUBLIC_IPS": "false",
        "LABELS": '{"team": "growth"}',
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"FORESERVE_DATAFLOW_{name}", value)
    monkeypatch.setenv("FORESERVE_BEAM_OPTIONS", '{"max_num_workers": 50, "worker_zone": "us-central1-b"}')
    options = refresh_dag(str(FILE)).get_task("purge").pipeline_options
    given = {"temp_location", "max_num_workers", "use_public_ips", "worker_zone", "labels", "service_account_email"}
    assert given <= options.keys()
    assert (options["max_num_workers"], options["use_public_ips"]) == (50, False)
    required = {"bigtable_project": "p", "bigtable_instance": "i", "model": "m", "version": 1, "source_table": "p.d.t"}
    known = set(PipelineOptions([f"--{name}={value}" for name, value in required.items()]).get_all_options())
    assert given <= known
    of_the_jobs = {"image_python"}
    assert set(Dataflow.model_fields) - of_the_jobs <= known


def test_dataflow_needs_a_place_for_temporary_files(monkeypatch):
    monkeypatch.delenv("FORESERVE_DATAFLOW_TEMP_LOCATION")
    with pytest.raises(ValidationError, match="temp_location"):
        refresh_dag(str(FILE))
    monkeypatch.setenv("FORESERVE_BEAM_RUNNER", "FnApiRunner")
    options = refresh_dag(str(FILE)).get_task("export").pipeline_options
    assert not options.keys() & (Dataflow.model_fields.keys() - {"labels"})


def test_any_failure_aborts_the_version_and_none_turns_the_run_green(dag):
    abort = dag.get_task("abort")
    assert abort.trigger_rule == "one_failed"
    assert abort.get_flat_relative_ids(upstream=True) == set(dag.task_ids) - {"abort", "clean_up"}
    passes_failures_on = {"all_success", "none_failed_min_one_success"}
    assert {task.trigger_rule for task in dag.tasks if task != abort} == passes_failures_on
    assert "clean_up" not in abort.get_flat_relative_ids(upstream=True)


def test_each_task_follows_only_from_the_one_before(dag):
    assert dag.get_task("promote").upstream_task_ids == {"smoke_test"}
    assert dag.get_task("smoke_test").upstream_task_ids == {"wait_for_replication"}


def test_the_dag_serialises(dag):
    assert DagSerialization.to_dict(dag)["dag"]["dag_id"] == "refresh_repeat_purchase"


def test_schedules_apply_unless_switched_off(monkeypatch):
    scheduled = refresh_dag(str(FILE))
    assert (scheduled.schedule, scheduled.catchup) == ("@weekly", False)
    assert scheduled.start_date is not None  # Airflow 2 refuses a schedule without
    monkeypatch.setenv("FORESERVE_SCHEDULED", "false")
    assert refresh_dag(str(FILE)).schedule is None


@pytest.fixture
def variant(tmp_path):
    """Makes the DAG of the example with other fields in its pipeline.yaml."""

    def change(**fields):
        path = shutil.copytree(FILE.parent, tmp_path / "repeat_purchase", dirs_exist_ok=True) / "pipeline.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields))
        return refresh_dag(str(path.with_name("dag.py")))

    return change


def test_two_pipelines_of_one_model_are_an_error_of_both(tmp_path):
    for name in ("repeat_purchase", "copy"):
        shutil.copytree(PIPELINES / "repeat_purchase", tmp_path / name)
    for name, other in (("repeat_purchase", "copy"), ("copy", "repeat_purchase")):
        with pytest.raises(
            PipelineError, match=rf"pipeline.yaml:2: model: 'repeat_purchase' .* {tmp_path}/{other}, too"
        ):
            refresh_dag(str(tmp_path / name / "dag.py"))
    (tmp_path / "copy" / "dag.py").unlink()  # then Airflow sees one
    assert refresh_dag(str(tmp_path / "repeat_purchase" / "dag.py"))


def test_airflow_loads_a_pipeline_without_a_largest_change(variant):
    assert "their number changes" not in variant(prediction_gate={"max_row_change": None}).doc_md


def test_a_wrong_metric_is_an_import_error(variant):
    with pytest.raises(PipelineError, match=r"quality_gate.metrics.auc: no such metric; .* LOGISTIC_REG has precision"):
        variant(quality_gate={"metrics": {"auc": {"minimum": 0.7}}})


def test_a_model_type_in_a_comment_does_not_count(variant, tmp_path):
    variant()
    train = tmp_path / "repeat_purchase" / "train.sql"
    train.write_text(train.read_text().replace("OPTIONS (", "OPTIONS ( -- not model_type = 'KMEANS'\n"))
    assert refresh_dag(str(train.with_name("dag.py")))


def test_the_first_task_finds_the_mistakes_in_templates(variant, tmp_path):
    find_mistakes = variant().get_task("open_version").find_mistakes
    assert find_mistakes() == []
    train = tmp_path / "repeat_purchase" / "train.sql"
    train.write_text(train.read_text().replace("{{ model }}", "{{ model }"))
    (mistake,) = find_mistakes()
    assert mistake.startswith(f"{train}:3: not a Jinja template: ")


@pytest.mark.parametrize("year", [1998, 1970, 1901])
def test_a_run_may_be_of_a_day_long_ago(dag, year):
    """Airflow ends a run whose logical date is before the start date as a success, without running its tasks."""
    assert dag.start_date < datetime(year, 3, 1, tzinfo=UTC)


def test_a_refresh_may_start_when_assets_were_updated(variant):
    orders = "bigquery://shop/sales/orders"
    dag = variant(schedule=None, assets=[orders])
    assert [asset.uri for asset in dag.schedule] == [orders]
    assert f"update of `{orders}`" in dag.doc_md


def test_a_promotion_is_an_event_of_the_models_asset(dag):
    (asset,) = dag.get_task("promote").outlets
    assert (asset.name, asset.uri) == ("repeat_purchase predictions", "foreserve://demo/local/repeat_purchase")
    assert not any(task.outlets for task in dag.tasks if task.task_id != "promote")


def test_every_task_says_what_it_does(dag):
    assert {task.task_id for task in dag.tasks} == TASKS.keys()
    assert all(task.doc_md for task in dag.tasks)


def test_the_dag_says_what_is_in_its_pipeline_yaml(dag):
    for words in ("at least 0.75, at most 0.02 below the champion's", "`keep_champion`", "@weekly", "at most 20%"):
        assert words in dag.doc_md
    assert "population stability index of `probability` is at most 0.25" in dag.doc_md


def test_the_trigger_form_can_be_sent_as_it_is(dag):
    form = dag.params
    for name in form:
        param = form.get_param(name)
        assert param.schema["title"]
        assert param.description
        assert not (param.schema["type"] == "string" and param.value == "")  # the form would demand a value
    assert form.dump()["smoke_test_rate"] is None


@pytest.mark.parametrize(
    ("field", "value"), [("smoke_test_requests", 99), ("smoke_test_rate", 0), ("export", "some"), ("retrain", "no")]
)
def test_the_trigger_form_refuses_what_makes_no_sense(dag, field, value):
    with pytest.raises(ParamValidationError):
        dag.params[field] = value


MAIL = {
    "notifier": "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
    "arguments": {"to": "team@example.com"},
}


def test_the_environments_alerts_apply_where_the_pipeline_has_none(monkeypatch, variant):
    monkeypatch.setenv("FORESERVE_ALERTS", json.dumps({"on_failure": [MAIL]}))
    keeper, notifier = variant().get_task("export").on_failure_callback
    assert keeper is keep_failure
    assert notifier.to == "team@example.com"
    dag = variant(alerts={"on_missed_deadline": [MAIL], "deadline_minutes": 60})
    assert dag.get_task("export").on_failure_callback == [keep_failure]
    assert [alert.interval.total_seconds() for alert in dag.deadline] == [3600]


def test_latency_reports_are_left_where_the_environment_says(monkeypatch, dag):
    assert dag.get_task("smoke_test").reports is None
    monkeypatch.setenv("FORESERVE_REPORTS", "gs://bucket/reports")
    assert refresh_dag(str(FILE)).get_task("smoke_test").reports.folder == "gs://bucket/reports"


def test_a_missing_environment_variable_is_named(monkeypatch):
    monkeypatch.delenv("FORESERVE_PROJECT")
    with pytest.raises(ValidationError, match="project"):
        refresh_dag(str(FILE))
