"""The examples, planned and applied by Terraform itself with a stand-in for the provider."""

import json
import os
import shutil
import subprocess

import pytest
from airflow.models.connection import Connection

from refresh_factory.environment import Environment
from tests.infra.evaluation import EXAMPLES, ROOT, copy_configuration

STAND_IN = [ROOT / ".venvs/stand_in/bin/python", ROOT / "tests/infra/terraform/stand_in.py"]
TERRAFORM = shutil.which("terraform") or "terraform"
CHANGES = 2  # exit code of `plan -detailed-exitcode` if the plan has changes


@pytest.fixture(scope="session")
def provider(tmp_path_factory):
    """The environment variables with which Terraform uses the stand-in and no network."""
    with subprocess.Popen(STAND_IN, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        configuration = tmp_path_factory.mktemp("terraform") / "terraformrc"
        configuration.write_text("")
        yield {
            **os.environ,
            "TF_REATTACH_PROVIDERS": process.stdout.readline().strip(),
            "TF_CLI_CONFIG_FILE": str(configuration),
            "CHECKPOINT_DISABLE": "1",
            "TF_IN_AUTOMATION": "1",
        }
        process.stdin.close()


class Root:
    """A root module in which Terraform is initialised."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.environment = environment
        assert self.run("init", "-backend=false", "-input=false").returncode == 0

    def run(self, command, *options):
        return subprocess.run(
            [TERRAFORM, command, "-no-color", *options],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def plan(self, **arguments):
        """Plan with other arguments of the module."""
        (self.folder / "override.tf.json").write_text(json.dumps({"module": {"foreserve": arguments}}))
        return self.run("plan", "-input=false", "-detailed-exitcode")

    def apply(self):
        applied = self.run("apply", "-input=false", "-auto-approve")
        assert applied.returncode == 0, applied.stderr

    def output(self, name):
        return json.loads(self.run("output", "-json", name).stdout)

    def deployment(self):
        return dict(line.split("=", 1) for line in self.run("output", "-raw", "deployment").stdout.splitlines())


@pytest.fixture
def root(tmp_path, provider):
    """Copies an example to a root module: `root("minimal")`."""

    def make(example):
        return Root(copy_configuration(tmp_path) / "examples" / example, provider)

    return make


def test_files_are_formatted(provider):
    formatted = subprocess.run(
        [TERRAFORM, "fmt", "-check", "-recursive", ROOT / "infra"],
        env=provider,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (formatted.returncode, formatted.stdout) == (0, "")


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_plan_after_apply_has_no_changes(root, example, monkeypatch):
    module = root(example)
    assert "Success" in module.run("validate").stdout
    assert module.plan().returncode == CHANGES
    module.apply()
    again = module.plan()
    assert again.returncode == 0, again.stdout

    deployment = module.deployment()
    url = "https://foreserve-api-abc.a.run.app"
    assert (deployment["service"], deployment["region"], deployment["url"]) == ("foreserve-api", "europe-west1", url)
    if example != "airflow_elsewhere":
        assert deployment["bucket"] == "gs://europe-west1-foreserve-bucket"
        return
    variables = module.output("airflow")["environment_variables"]
    assert all(isinstance(value, str) and value for value in variables.values())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = Environment()
    options = environment.job_options()
    assert options["service_account_email"] == "foreserve-workers@shop-predictions.iam.gserviceaccount.com"
    assert options["temp_location"] == "gs://shop-predictions-foreserve-jobs/jobs"
    connection = Connection.from_json(variables["AIRFLOW_CONN_PREDICTION_API"], conn_id=environment.api_conn_id)
    assert (connection.conn_type, connection.schema, connection.host) == (
        "http",
        "https",
        "foreserve-api-abc.a.run.app",
    )
    assert connection.extra_dejson == {"id_token_audience": url}


def test_an_airflow_elsewhere_gets_the_rights_and_none_is_created(root):
    plan = root("airflow_elsewhere").plan()
    assert plan.returncode == CHANGES, plan.stderr
    assert "google_composer_environment" not in plan.stdout
    assert "roles/composer.worker" not in plan.stdout
    assert "serviceAccount:airflow@shop-predictions.iam.gserviceaccount.com" in plan.stdout


def test_objectives_are_added_to_an_applied_configuration(root):
    module = root("production")
    module.apply()
    plan = module.plan(live=True)
    assert plan.returncode == CHANGES, plan.stderr
    # The objective of latency, and for each of four models the objective of freshness and two alerts. The alert
    # ForeserveGone is enabled.
    assert "Plan: 13 to add, 1 to change, 0 to destroy" in plan.stdout


def test_more_cells_are_kept_without_replacing_a_policy(root):
    module = root("production")
    module.apply()
    pipeline = module.folder.parents[2] / "dags/pipelines/repeat_purchase/pipeline.yaml"
    pipeline.write_text(pipeline.read_text().replace("keep_versions: 4", "keep_versions: 6"))
    plan = module.plan()
    assert "Plan: 0 to add, 1 to change, 0 to destroy" in plan.stdout


def test_a_new_pipeline_gets_its_table_and_family(root):
    module = root("minimal")
    module.apply()
    pipelines = module.folder.parents[2] / "dags/pipelines"
    new = shutil.copytree(pipelines / "repeat_purchase", pipelines / "churn")
    content = (new / "pipeline.yaml").read_text().replace("model: repeat_purchase", "model: churn")
    (new / "pipeline.yaml").write_text(content.replace("entity_type: customer", "entity_type: subscriber"))
    plan = module.plan()
    assert plan.returncode == CHANGES, plan.stderr
    for made in (
        'google_bigtable_table.tables["subscriber"]',
        'google_bigtable_gc_policy.families["subscriber/churn"]',
        'google_bigtable_table_iam_member.workers_entities["subscriber"]',
    ):
        assert f"module.foreserve.{made} will be created" in plan.stdout
    assert "0 to change, 0 to destroy" in plan.stdout


def test_a_second_airflow_replaces_the_first_without_a_gap(root):
    """The runbook of docs/upgrade.md: add, change over, retire, remove."""
    module = root("production")
    module.apply()
    old, new = {"resilient": True, "min_workers": 2}, {"image_version": "composer-3-airflow-3.4.0"}
    unnamed = module.plan(composer={"foreserve": old, "foreserve-next": new})
    assert "deploy_to is the name of an environment" in " ".join(unnamed.stderr.replace("│", "").split())
    both = {"foreserve": old, "foreserve-next": new}
    added = module.plan(composer=both, deploy_to="foreserve")
    assert 'google_composer_environment.airflow["foreserve-next"] will be created' in added.stdout
    assert "0 to destroy" in added.stdout
    module.apply()
    assert module.deployment()["environment"] == "foreserve"
    changed_over = module.plan(composer=both, deploy_to="foreserve-next")
    assert "You can apply this plan to save these new output values" in changed_over.stdout
    module.apply()
    assert module.deployment()["environment"] == "foreserve-next"
    module.plan(composer={"foreserve-next": new}, deploy_to=None)
    refused = module.run("apply", "-input=false", "-auto-approve")
    assert "deletion_policy is PREVENT" in refused.stderr
    module.plan(composer={"foreserve": {**old, "retired": True}, "foreserve-next": new}, deploy_to="foreserve-next")
    module.apply()
    removed = module.plan(composer={"foreserve-next": new}, deploy_to=None)
    assert 'google_composer_environment.airflow["foreserve"] will be destroyed' in removed.stdout
    module.apply()


def test_a_value_that_the_provider_does_not_list_is_refused(root):
    module = root("minimal")
    file = module.folder.parents[1] / "foreserve" / "cloud_run.tf"
    file.write_text(file.read_text().replace('"INGRESS_TRAFFIC_ALL"', '"EVERYBODY"'))
    validated = module.run("validate")
    assert validated.returncode == 1
    assert "expected ingress to be one of ['INGRESS_TRAFFIC_ALL'," in validated.stderr


def test_a_callers_file_and_the_internet_are_options(root):
    api = {"callers_secret": "callers", "internet": True, "settings": {"OTEL_SDK_DISABLED": "true"}}
    plan = root("minimal").plan(api=api)
    assert plan.returncode == CHANGES, plan.stderr
    lines = " ".join(plan.stdout.split())
    assert '+ egress = "PRIVATE_RANGES_ONLY"' in lines
    assert '+ value = "/etc/foreserve/callers.json"' in lines
    assert '+ mount_path = "/etc/foreserve"' in lines
    assert '+ secret = "callers" + items { + path = "callers.json"' in lines
    assert '+ role = "roles/secretmanager.secretAccessor" + secret_id = "callers"' in lines


def test_secrets_of_airflow_and_readers_of_reports_are_options(root):
    plan = root("minimal").plan(airflow_secrets=["airflow-connections-mail"], report_readers=["group:data@example.com"])
    assert plan.returncode == CHANGES, plan.stderr
    lines = " ".join(plan.stdout.split())
    assert "providers.google.cloud.secrets.secret_manager.CloudSecretManagerBackend" in lines
    assert '+ role = "roles/secretmanager.secretAccessor" + secret_id = "airflow-connections-mail"' in lines
    assert '+ member = "group:data@example.com" + role = "roles/storage.objectViewer"' in lines
    assert '+ service = "secretmanager.googleapis.com"' in lines


def test_a_plan_needs_no_optional_argument(root):
    module = root("minimal")
    text = (module.folder / "main.tf").read_text()
    needed = ("source", "project", "region", "labels", "clusters", "bigquery_location", "source_datasets")
    head, rest = text.split('module "foreserve" {\n')
    body, tail = rest.split("\n}\n", 1)
    kept = [line for line in body.splitlines() if line.split("=")[0].strip() in needed]
    (module.folder / "main.tf").write_text(f'{head}module "foreserve" {{\n' + "\n".join(kept) + f"\n}}\n{tail}")
    plan = module.plan()
    assert plan.returncode == CHANGES, plan.stderr
    assert "google_billing_budget" not in plan.stdout


def test_invalid_values_are_refused_by_name(root):
    module = root("production")
    elsewhere = {"service_account": "a@b.iam.gserviceaccount.com", "bucket": "gs://airflow", "beam_version": "2.73.0"}
    for name, value, message in (
        ("project", "Shop", "project is an id of 6 to 30"),
        ("region", "europe", "region is the name of a region"),
        ("labels", {"Team": "data"}, "labels are lower-case"),
        ("clusters", [], "clusters has one cluster"),
        ("clusters", [{"zone": "us-east1-b"}], "clusters begins with one in the region"),
        ("clusters", [{"zone": "europe-west1-b"}, {"zone": "europe-west1-b"}], "clusters are in different zones"),
        ("clusters", [{"zone": "europe-west1-b", "min_nodes": 1, "max_nodes": 11}], "between that and ten times"),
        ("bigquery_location", "Europe", "bigquery_location is EU, US"),
        ("source_datasets", ["sales"], "source_datasets are named PROJECT.DATASET"),
        ("dataflow_max_workers", 0, "dataflow_max_workers is at least 1"),
        ("api", {"min_instances": 0}, "api.min_instances is at least 1"),
        ("api", {"callers": ["allUsers"]}, "not allUsers"),
        ("api", {"settings": {"CACHE_BYTES": "1"}}, "api.settings are named SERVING_"),
        ("environment_variables", {"AIRFLOW__CORE__PARALLELISM": "4"}, "are composer[].config_overrides"),
        (
            "composer",
            {"airflow": {"image_version": "composer-2.9.0-airflow-2.9.3"}},
            "one of Composer 3 with Airflow 2.11",
        ),
        ("composer", {"foreserve-Next": {}}, "composer has environments by name"),
        ("name", "other-one", "composer has environments by name"),
        ("composer", {"airflow": {"config_overrides": {"AIRFLOW__CORE__PARALLELISM": "4"}}}, "named SECTION-OPTION"),
        ("composer", {"airflow": {"size": "SMALL"}}, "composer[].size is ENVIRONMENT_SIZE_SMALL"),
        ("composer", {"airflow": {"resilient": True, "min_workers": 1}}, "or 2 if resilient"),
        ("existing_airflow", {**elsewhere, "service_account": "me"}, "ends in gserviceaccount.com"),
        ("existing_airflow", {**elsewhere, "bucket": "gs://airflow/"}, "without a slash at the end"),
        ("deployers", ["me@example.com"], "deployers are IAM members"),
        ("alert_emails", {"page": ["me"]}, "alert_emails are e-mail addresses"),
        ("alert_channels", {"page": ["slack"]}, "alert_channels are named projects/"),
        ("budget", {"billing_account": "mine", "monthly_amount": 1}, "budget.billing_account is an id"),
        (
            "budget",
            {"billing_account": "012345-6789AB-CDEF01", "monthly_amount": 1.5},
            "budget.monthly_amount is a whole",
        ),
    ):
        plan = module.plan(**{name: value})
        assert plan.returncode == 1, (name, value)
        assert message in " ".join(plan.stderr.replace("│", "").split()), (name, value, plan.stderr)
