"""The examples, planned and applied by Terraform itself with a stand-in for the provider."""

import json
import os
import shutil
import subprocess

import pytest
from airflow.models.connection import Connection

from refresh_factory.environment import Environment
from tests.infra.evaluation import EXAMPLES, ROOT

STAND_IN = [ROOT / ".venvs/stand_in/bin/python", ROOT / "tests/infra/terraform/stand_in.py"]
TERRAFORM = shutil.which("terraform") or "terraform"
CHANGES = 2  # exit code of `plan -detailed-exitcode` if the plan has changes

EXISTING = {
    "environment": "shared",
    "location": "europe-west4",
    "service_account": "composer@shop.iam.gserviceaccount.com",
}


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
        shutil.copy(folder / "terraform.tfvars.example", folder / "terraform.tfvars")
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

    def plan(self, **variables):
        options = [
            f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in variables.items()
        ]
        return self.run("plan", "-input=false", "-detailed-exitcode", *options)

    def deployment(self):
        return json.loads(self.run("output", "-json", "deployment").stdout)


@pytest.fixture
def root(tmp_path, provider):
    """Copies an example to a root module: `root("minimal")`."""

    def make(example):
        for folder in ("infra", "dags", "monitoring"):
            shutil.copytree(
                ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns(".terraform*", "*.tfstate*")
            )
        return Root(tmp_path / "infra/examples" / example, provider)

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
    applied = module.run("apply", "-input=false", "-auto-approve")
    assert applied.returncode == 0, applied.stderr
    again = module.plan()
    assert again.returncode == 0, again.stdout

    deployment = module.deployment()
    variables = deployment["environment_variables"]
    assert all(isinstance(value, str) and value for value in variables.values())
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = Environment()
    options = environment.job_options()
    assert options["service_account_email"] == "foreserve-workers@shop-predictions.iam.gserviceaccount.com"
    assert options["temp_location"] == "gs://shop-predictions-foreserve-jobs/jobs"

    url = "https://foreserve-api-abc.a.run.app"
    assert deployment["api"] == {"service": "foreserve-api", "location": "europe-west1", "url": url}
    connection = Connection.from_json(variables["AIRFLOW_CONN_PREDICTION_API"], conn_id=environment.api_conn_id)
    assert (connection.conn_type, connection.schema, connection.host) == (
        "http",
        "https",
        "foreserve-api-abc.a.run.app",
    )
    assert connection.extra_dejson == {"id_token_audience": url}


def test_an_existing_airflow_gets_the_rights_and_no_other_is_created(root):
    module = root("minimal")
    plan = module.plan(existing_composer=EXISTING)
    assert plan.returncode == CHANGES, plan.stderr
    assert "google_composer_environment" not in plan.stdout
    assert "roles/composer.worker" not in plan.stdout
    assert f"serviceAccount:{EXISTING['service_account']}" in plan.stdout
    applied = module.run("apply", "-input=false", "-auto-approve", f"-var=existing_composer={json.dumps(EXISTING)}")
    assert applied.returncode == 0, applied.stderr
    assert module.deployment()["composer"] == {"environment": "shared", "location": "europe-west4"}


def test_objectives_are_added_to_an_applied_configuration(root):
    module = root("production")
    assert module.run("apply", "-input=false", "-auto-approve").returncode == 0
    plan = module.plan(objectives=True)
    assert plan.returncode == CHANGES, plan.stderr
    # The objective of latency, and for each of three models the objective of freshness and two alerts.
    assert "Plan: 10 to add, 0 to change, 0 to destroy" in plan.stdout


def test_a_new_pipeline_gets_its_table_and_family(root):
    module = root("minimal")
    assert module.run("apply", "-input=false", "-auto-approve").returncode == 0
    pipelines = module.folder.parents[2] / "dags/pipelines"
    new = shutil.copytree(pipelines / "repeat_purchase", pipelines / "churn")
    content = (new / "pipeline.yaml").read_text().replace("model: repeat_purchase", "model: churn")
    (new / "pipeline.yaml").write_text(content.replace("entity_type: customer", "entity_type: subscriber"))
    plan = module.plan()
    assert plan.returncode == CHANGES, plan.stderr
    for made in (
        'bigtable.google_bigtable_table.tables["subscriber"]',
        'bigtable.google_bigtable_gc_policy.families["subscriber/churn"]',
        'access.google_bigtable_table_iam_member.workers_entities["subscriber"]',
    ):
        assert f"module.foreserve.module.{made} will be created" in plan.stdout
    assert "0 to change, 0 to destroy" in plan.stdout


def test_a_plan_needs_no_optional_variable(root):
    module = root("production")
    minimum = {
        "project": "shop-predictions",
        "region": "europe-west1",
        "bigquery_location": "EU",
        "source_datasets": [],
    }
    (module.folder / "terraform.tfvars").write_text("")
    plan = module.plan(**minimum, clusters=[{"zone": "europe-west1-b"}])
    assert plan.returncode == CHANGES, plan.stderr
    assert "google_billing_budget" not in plan.stdout


def test_invalid_values_are_refused_by_name(root):
    module = root("production")
    for name, value, message in (
        ("project", "Shop", "project is an id of 6 to 30"),
        ("region", "europe", "region is the name of a region"),
        ("labels", {"Team": "data"}, "labels are lower-case"),
        ("clusters", [], "clusters begins with one in the region"),
        ("clusters", [{"zone": "us-east1-b"}], "clusters begins with one in the region"),
        ("clusters", [{"zone": "europe-west1-b"}, {"zone": "europe-west1-b"}], "clusters are in different zones"),
        ("clusters", [{"zone": "europe-west1-b", "min_nodes": 1, "max_nodes": 11}], "between that and ten times"),
        ("bigquery_location", "Europe", "bigquery_location is EU, US"),
        ("source_datasets", ["sales"], "source_datasets are named PROJECT.DATASET"),
        ("dataflow_max_workers", 0, "dataflow_max_workers is at least 1"),
        ("api", {"min_instances": 0}, "api.min_instances is at least 1"),
        ("api", {"callers": ["allUsers"]}, "not allUsers"),
        ("api", {"settings": {"CACHE_BYTES": "1"}}, "api.settings are named SERVING_"),
        ("environment_variables", {"AIRFLOW__CORE__PARALLELISM": "4"}, "are composer.config_overrides"),
        ("composer", {"image_version": "composer-2.9.0-airflow-2.9.3"}, "one of Composer 3 with Airflow 2.11"),
        ("composer", {"config_overrides": {"AIRFLOW__CORE__PARALLELISM": "4"}}, "named SECTION-OPTION"),
        ("composer", {"size": "SMALLEST"}, "composer.size is ENVIRONMENT_SIZE_SMALL"),
        ("composer", {"resilient": True, "min_workers": 1}, "or 2 if resilient"),
        ("existing_composer", {**EXISTING, "service_account": "me"}, "ends in gserviceaccount.com"),
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
        assert message in " ".join(plan.stderr.split()), (name, value, plan.stderr)
