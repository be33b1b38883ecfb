"""Terraform creates the tables, variables, settings and alerts that the code expects."""

import json
import re
import shutil
from datetime import UTC, datetime, timedelta

import promql_parser as promql
import pytest
import yaml
from croniter import croniter
from google.cloud.bigtable_admin_v2 import BigtableTableAdminClient, ListTablesRequest, Table

from benchmarks.estimate import LOOKUP_CPU_SECONDS
from prediction_store.layout import REGISTRY_TABLE, Instance
from prediction_store.lifecycle import ModelState
from prediction_store.tables import Tables, _client
from refresh_factory.environment import Dataflow, Environment
from refresh_factory.pipeline import PIPELINES, Pipeline, load_pipeline
from serving_api.settings import Settings
from tests.infra.configuration import Module, names, text
from tests.infra.evaluation import EXAMPLES, INFRA, MODULE, ROOT, Evaluated, copy_configuration, evaluate

ALERTS = yaml.safe_load((ROOT / "monitoring/prometheus/alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
GRAFANA = json.loads((ROOT / "monitoring/grafana/dashboards/foreserve.json").read_text())

FOR_DEPLOY = {"staging_location", "sdk_container_image", "image_python", "machine_type"}
"""Settings of Dataflow that Terraform leaves to deployments (the image) or to Dataflow."""

PRESETS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}


def pipelines():
    return [load_pipeline(folder) for folder in sorted(PIPELINES.iterdir()) if (folder / "pipeline.yaml").exists()]


def blocks(value):
    """Return a list of blocks. tfparse has a single block without a list."""
    return value if isinstance(value, list) else [value]


def families(example):
    """Return table, family and number of kept cells of each column family that Terraform creates."""
    return {
        (policy["table"], policy["column_family"], json.loads(policy["gc_rules"])["rules"][0]["max_version"])
        for policy in example.resources["google_bigtable_gc_policy"].values()
    }


def test_tables_are_those_that_refreshes_create_on_the_local_stack(example, bigtable):
    instance = Instance("agreement", "infra")
    tables = Tables(instance)
    tables.ensure_registry()
    for pipeline in pipelines():
        tables.ensure_model(ModelState(pipeline.model, pipeline.entity_type, pipeline.row_keys, pipeline.keep_versions))
    client: BigtableTableAdminClient = _client()
    request = ListTablesRequest(parent=instance.name, view=Table.View.SCHEMA_VIEW)
    made = {
        (table.name.rpartition("/")[2], family, settings.gc_rule.max_num_versions)
        for table in client.list_tables(request)
        for family, settings in client.get_table(name=table.name).column_families.items()
    }
    assert families(example) == made


def test_every_family_has_garbage_collection(example):
    tables = example.resources["google_bigtable_table"].values()
    made = {(table["name"], family["family"]) for table in tables for family in blocks(table["column_family"])}
    assert made == {(table, family) for table, family, _ in families(example)}


def test_a_pipeline_without_keep_versions_gets_the_default(tmp_path):
    infra = copy_configuration(tmp_path)
    new = shutil.copytree(PIPELINES / "repeat_purchase", tmp_path / "dags/pipelines/churn")
    content = (new / "pipeline.yaml").read_text().replace("model: repeat_purchase", "model: churn")
    content = content.replace("entity_type: customer", "entity_type: subscriber").replace("keep_versions: 4\n", "")
    (new / "pipeline.yaml").write_text(content)
    default = Pipeline.model_fields["keep_versions"].default
    cells = ModelState("churn", "subscriber", keep_versions=default).cells_per_row
    assert ("subscriber", "churn", cells) in families(Evaluated(infra, "minimal"))


def test_data_and_history_are_protected_in_production(production):
    assert production.one("google_bigtable_instance")["deletion_protection"] is True
    for table in production.resources["google_bigtable_table"].values():
        assert table["deletion_protection"] == "PROTECTED"
    assert production.one("google_composer_environment")["deletion_policy"] == "PREVENT"


def test_two_clusters_may_keep_more_cells_than_before(production):
    """Bigtable refuses to relax the policy of a replicated table, unless it is told to ignore the warning."""
    for policy in production.resources["google_bigtable_gc_policy"].values():
        assert policy["ignore_warnings"] is True
        assert "max_version" not in policy  # the provider would replace the policy instead of updating it


def test_app_profiles_have_their_priorities_and_routing(example):
    profiles = {p["app_profile_id"]: p for p in example.resources["google_bigtable_app_profile"].values()}
    first = blocks(example.one("google_bigtable_instance")["cluster"])[0]["cluster_id"]
    assert {name: profile["standard_isolation"]["priority"] for name, profile in profiles.items()} == {
        "serving": "PRIORITY_HIGH",
        "export": "PRIORITY_LOW",
        "registry": "PRIORITY_HIGH",
    }
    for name in ("export", "registry"):
        assert profiles[name]["single_cluster_routing"]["cluster_id"] == first
    assert profiles["registry"]["single_cluster_routing"]["allow_transactional_writes"] is True
    assert not profiles["export"]["single_cluster_routing"].get("allow_transactional_writes")


def test_variables_are_those_of_the_environment(example, monkeypatch):
    variables = example.airflow["environment_variables"]
    assert all(variables.values())
    known = {f"FORESERVE_{name}".upper() for name in Environment.model_fields}
    known |= {f"FORESERVE_DATAFLOW_{name}".upper() for name in Dataflow.model_fields.keys() - FOR_DEPLOY}
    assert variables.keys() - known == {f"AIRFLOW_CONN_{Environment.model_fields['api_conn_id'].default}".upper()}
    assert {
        f"FORESERVE_DATAFLOW_{name}".upper() for name in Dataflow.model_fields.keys() - FOR_DEPLOY
    } <= variables.keys()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = Environment()
    options = environment.job_options()
    assert (environment.bigtable_instance, environment.export_app_profile) == ("foreserve", "export")
    assert environment.registry_app_profile == "registry"
    assert environment.create_tables is False
    assert options["use_public_ips"] is False
    assert options["subnetwork"] == "regions/europe-west1/subnetworks/foreserve"
    assert options["labels"]["app"] == "foreserve"
    assert environment.report_folder().folder.startswith("gs://")


def test_a_deployment_can_read_the_output(example):
    planned = (ROOT / "deployment/example.outputs").read_text()
    outputs, expected = (
        dict(line.split("=", 1) for line in text.splitlines()) for text in (example.deployment, planned)
    )
    assert outputs.keys() == expected.keys()
    assert outputs["images"] == "europe-west1-docker.pkg.dev/shop-predictions/foreserve"
    assert bool(outputs["environment"]) != bool(outputs["beam_version"])


def test_composer_gets_variables_and_packages(production):
    software = production.one("google_composer_environment")["config"]["software_config"]
    assert software["env_variables"] == production.airflow["environment_variables"]
    assert software["env_variables"]["FORESERVE_ALERTS"]
    lock = (ROOT / "requirements.txt").read_text()
    assert software["pypi_packages"]
    for name, version in software["pypi_packages"].items():
        assert f"\n{name}{version} " in lock


def test_the_service_accepts_its_settings(example, monkeypatch):
    variables = example.locals["serving_environment"]
    assert variables.keys() <= {f"SERVING_{name}".upper() for name in Settings.model_fields}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert (settings.project, settings.instance, settings.app_profile) == ("shop-predictions", "foreserve", "serving")
    assert (settings.auth, settings.allow_anonymous) == ("none", True)


def test_the_service_is_probed_at_its_port_and_routes(example):
    api = blocks(example.one("google_cloud_run_v2_service")["template"]["containers"])[0]
    (port,) = re.findall(r"^EXPOSE (\d+)$", (ROOT / "serving_api/Dockerfile").read_text(), re.MULTILINE)
    assert api["ports"]["container_port"] == int(port)
    assert api["startup_probe"]["http_get"] == api["startup_probe"]["http_get"] | {"path": "/readyz", "port": int(port)}
    assert api["liveness_probe"]["http_get"] == api["liveness_probe"]["http_get"] | {
        "path": "/healthz",
        "port": int(port),
    }
    assert api["resources"]["cpu_idle"] is False


def test_urls_with_entity_ids_are_not_logged(example):
    service = example.one("google_cloud_run_v2_service")["name"]
    assert f'resource.labels.service_name="{service}"' in example.one("google_logging_project_exclusion")["filter"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_all_resources_have_the_labels_of_cost_reports(name):
    root = Module.load(INFRA / "examples" / name)
    (provider,) = (block for block in root.blocks if block.kind == "provider")
    labels = [
        list(names(block.arguments[argument]))
        for block, argument in ((provider, "default_labels"), (root.of("module")["foreserve"], "labels"))
    ]
    assert labels == [[("local", "labels")]] * 2


def test_the_budget_counts_the_whole_project(production):
    budget = production.one("google_billing_budget")
    assert budget["budget_filter"]["projects"] == ["projects/123456789012"]
    assert "labels" not in budget["budget_filter"]


def test_instances_are_kept_by_the_service_so_that_a_revision_gets_its_share_of_them(example):
    service = example.one("google_cloud_run_v2_service")
    assert service["scaling"]["min_instance_count"] >= 1
    assert "min_instance_count" not in service["template"]["scaling"]


def test_alerts_are_those_of_prometheus(example):
    made = {
        policy["display_name"].removeprefix("foreserve-api: "): policy
        for address, policy in example.resources["google_monitoring_alert_policy"].items()
        if ".rules[" in address
    }
    rules = {rule["alert"]: rule for rule in RULES if "alert" in rule}
    assert made.keys() == rules.keys()
    for name, rule in rules.items():
        condition = made[name]["conditions"]["condition_prometheus_query_language"]
        minutes = int(re.fullmatch(r"(\d+)m", rule.get("for", "0m"))[1])
        assert condition["duration"] == f"{60 * minutes}s"
        assert made[name]["severity"] == {"page": "CRITICAL", "ticket": "WARNING"}[rule["labels"]["severity"]]
        assert rule["annotations"]["runbook"] in made[name]["documentation"]["content"]
        assert as_recorded(rule["expr"]) == of_all_services(condition["query"])
        assert made[name].get("enabled", True) is (name != "ForeserveGone")


def test_the_dashboard_has_the_panels_of_grafana(example):
    dashboard = json.loads(example.one("google_monitoring_dashboard")["dashboard_json"])
    assert dashboard["displayName"].endswith("foreserve-api")
    tiles = dashboard["mosaicLayout"]["tiles"]
    panels = [panel for panel in GRAFANA["panels"] if panel["type"] != "row"]
    assert [tile["widget"]["title"] for tile in tiles] == [panel["title"] for panel in panels]
    for tile, panel in zip(tiles, panels, strict=True):
        assert [tile[key] for key in ("xPos", "yPos", "width", "height")] == [panel["gridPos"][key] for key in "xywh"]
        if panel["title"] == "Alerts":
            assert "incidentList" in tile["widget"]  # Cloud Monitoring has no series ALERTS
            continue
        shown = tile["widget"].get("xyChart") or tile["widget"].get("timeSeriesTable")
        sets = shown["dataSets"] if shown else [tile["widget"]["scorecard"]]
        for shown, target in zip(sets, panel["targets"], strict=True):
            plain = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*").replace("$model", ".*")
            query = shown["timeSeriesQuery"]["prometheusQuery"]
            assert of_all_services(query) == as_recorded(plain)


def test_objectives_of_freshness_are_above_the_intervals_of_schedules(tmp_path):
    example = evaluate(tmp_path, "production", live="true")
    assert all(policy.get("enabled", True) for policy in example.resources["google_monitoring_alert_policy"].values())
    limits = {
        re.search(r'freshness\["(\w+)"\]', address)[1]: slo["windows_based_sli"]["metric_mean_in_range"]["range"]["max"]
        for address, slo in example.resources["google_monitoring_slo"].items()
        if ".freshness[" in address
    }
    assert limits.keys() == {pipeline.model for pipeline in pipelines()}
    for pipeline in pipelines():
        if pipeline.schedule:
            due = croniter(PRESETS.get(pipeline.schedule, pipeline.schedule), datetime(2026, 1, 1, tzinfo=UTC))
            first, second = due.get_next(datetime), due.get_next(datetime)
            assert timedelta(seconds=limits[pipeline.model]) > second - first, pipeline.model


def test_objectives_on_the_services_metrics_are_off_by_default(example):
    made = {address.rpartition(".")[2] for address in example.resources["google_monitoring_slo"]}
    assert made == {"errors"}


def test_the_size_of_an_instance_follows_from_the_measurement():
    microseconds = LOOKUP_CPU_SECONDS * 1e6
    assert f"a lookup takes {microseconds:.0f} us of CPU" in (MODULE / "cloud_run.tf").read_text()


def of_all_services(query):
    """Return a query without the label of one service, which each of its selectors must have."""
    own = 'namespace="foreserve-api"'
    selectors = re.findall(r"\bforeserve_\w+", query)
    assert selectors == re.findall(rf"\b(foreserve_\w+){{{own}[,}}]", query), query
    return promql.parse(query.replace(f"{{{own}}}", "").replace(f"{own},", "")).prettify()


def as_recorded(expression):
    """Return an expression in which the expressions of recorded series replace their names."""
    recorded = {}
    for rule in RULES:
        if "record" in rule:
            made = rule["expr"]
            for label, value in rule.get("labels", {}).items():
                made = f'label_replace({made}, "{label}", "{value}", "", "")'
            recorded.setdefault(rule["record"], []).append(made)
    for name, made in recorded.items():
        expression = re.sub(rf"{name}(?![\w:])", lambda _, made=made: f"({' or '.join(made)})", expression)
    return promql.parse(expression).prettify()


def test_the_registry_table_has_the_name_in_the_code():
    (name,) = (
        block.arguments["registry_table"] for block in Module.load(MODULE).blocks if "registry_table" in block.arguments
    )
    assert text(name) == REGISTRY_TABLE
