"""Terraform grants the roles in the documents, each on the narrowest resource that has a policy."""

import re
import shutil

import pytest

from tests.infra.configuration import Module, names, text
from tests.infra.evaluation import INFRA, MODULE

ACCOUNTS = {
    "local.airflow": "Airflow's workers",
    "local.workers": "Dataflow's workers",
    "local.api": "the lookup service",
}

RESOURCES = {
    ("google_project_iam_member", "project", "local.project"): "the project",
    (
        "google_bigquery_dataset_iam_member",
        "dataset_id",
        "google_bigquery_dataset.refreshes.dataset_id",
    ): "the dataset of refreshes",
    ("google_bigquery_dataset_iam_member", "dataset_id", "each.key"): "each dataset that pipelines read",
    (
        "google_bigtable_instance_iam_member",
        "instance",
        "google_bigtable_instance.predictions.name",
    ): "the Bigtable instance",
    ("google_bigtable_table_iam_member", "table", "local.registry_table"): "the table `prediction_versions`",
    ("google_bigtable_table_iam_member", "table", "each.key"): "each table of predictions",
    ("google_storage_bucket_iam_member", "bucket", "google_storage_bucket.jobs.name"): "the bucket of Dataflow's files",
    ("google_storage_bucket_iam_member", "bucket", "google_storage_bucket.reports.name"): "the bucket of reports",
    (
        "google_storage_bucket_iam_member",
        "bucket",
        "google_composer_environment.airflow.config.dag_gcs_prefix",
    ): "Composer's buckets",
    (
        "google_service_account_iam_member",
        "service_account_id",
        "google_service_account.workers.name",
    ): "the account of Dataflow's workers",
    (
        "google_service_account_iam_member",
        "service_account_id",
        "google_service_account.api.name",
    ): "the account of the lookup service",
    ("google_cloud_run_v2_service_iam_member", "name", "google_cloud_run_v2_service.api.name"): "the lookup service",
    (
        "google_artifact_registry_repository_iam_member",
        "repository",
        "google_artifact_registry_repository.images.name",
    ): "the repository of images",
    ("google_secret_manager_secret_iam_member", "secret_id", "each.key"): "each secret in `airflow_secrets`",
    (
        "google_secret_manager_secret_iam_member",
        "secret_id",
        "var.api.callers_secret",
    ): "the secret `api.callers_secret`",
}
"""The resource of a grant, by the type of the grant, the argument that names the resource, and its value."""

CUSTOM = "google_project_iam_custom_role.deployer.name"

ONLY_ON_A_PROJECT = {
    "roles/bigquery.jobUser",
    "roles/bigquery.readSessionUser",
    "roles/composer.worker",
    "roles/dataflow.developer",
    "roles/dataflow.worker",
    "roles/monitoring.metricWriter",
    "custom",
}
"""Roles on things without a policy of their own: jobs, sessions, environments, metrics."""


def iam_blocks(module=MODULE):
    for block in Module.load(module).of("resource").values():
        if block.labels[0].endswith("_iam_member"):
            yield block


def named(block, argument):
    return [".".join(name) for name in names(block.arguments[argument])]


def account_of(block):
    """Return the account of a grant. Grants to people are named after their group."""
    members = named(block, "member")
    group = block.labels[1].partition("_")[0]
    return ACCOUNTS.get(members[0]) or {"callers": "callers", "report": "readers of reports"}.get(group, "deployers")


def granted(module=MODULE):
    """Yield account, role and resource of every grant."""
    for block in iam_blocks(module):
        on = {
            meaning
            for (kind, argument, name), meaning in RESOURCES.items()
            if kind == block.labels[0] and name in named(block, argument)
        }
        assert len(on) == 1, block
        role = "custom" if named(block, "role") == [CUSTOM] else text(block.arguments["role"])
        yield account_of(block), role, on.pop()


def documented():
    section = (INFRA / "README.md").read_text().split("<!-- rights -->")[1].split("<!-- end -->")[0]
    names = {name.lower(): name for name in {*ACCOUNTS.values(), "callers", "readers of reports", "deployers"}}
    for account, rights in re.findall(r"^\*\*(.+)\*\*.*\n\n((?:- .+\n(?:  .+\n)*)+)", section, re.MULTILINE):
        for on, granted_roles in re.findall(r"^- (.+?): (`[^`]+`(?:.|\n  )*)", rights, re.MULTILINE):
            for role in set(re.findall(r"`([^`]+)`", granted_roles)):
                yield names[account.lower()], role if role.startswith("roles/") else "custom", on


def roles(account):
    return {role for who, role, _ in granted() if who == account}


def test_every_grant_is_in_the_document_and_the_reverse():
    assert sorted(granted()) == sorted(set(documented()))


def test_a_grant_that_is_not_in_the_document_is_found(tmp_path):
    module = shutil.copytree(MODULE, tmp_path / "foreserve")
    file = module / "access.tf"
    file.write_text(file.read_text().replace("roles/bigtable.reader", "roles/bigtable.user"))
    found = ("the lookup service", "roles/bigtable.user", "the Bigtable instance")
    assert set(granted(module)) - set(documented()) == {found}


def test_grants_leave_those_of_others_in_place():
    kinds = {block.labels[0] for block in Module.load(MODULE).of("resource").values() if "_iam_" in block.labels[0]}
    assert {kind.rpartition("_")[2] for kind in kinds} == {"member", "role"}


def test_roles_are_literals():
    for block in iam_blocks():
        assert named(block, "role") in ([], [CUSTOM]), block
        assert named(block, "role") or re.fullmatch(r"roles/\w+\.\w+", text(block.arguments["role"])), block


def test_no_role_is_on_the_project_if_a_narrower_resource_takes_it():
    assert {role for _, role, on in granted() if on == "the project"} <= ONLY_ON_A_PROJECT


@pytest.mark.parametrize("role", ["owner", "editor", "viewer", "bigtable.admin", "iam.serviceAccountTokenCreator"])
def test_no_account_has_a_broad_role(role):
    assert f"roles/{role}" not in {granted_role for _, granted_role, _ in granted()}


def test_the_lookup_service_cannot_write():
    reads = {"roles/bigtable.reader", "roles/secretmanager.secretAccessor"}
    assert roles("the lookup service") == reads | {"roles/monitoring.metricWriter"}


def test_every_grant_has_a_comment_with_its_reason():
    for before in re.split(r"^resource .+ \{$", (MODULE / "access.tf").read_text(), flags=re.MULTILINE)[:-1]:
        assert re.search(r"^# .+\n\Z", before, re.MULTILINE), before[-200:]


def test_the_rights_that_no_single_resource_takes_are_documented():
    role = Module.load(MODULE).of("resource")["google_project_iam_custom_role", "deployer"]
    permissions = role.arguments["permissions"].scan_values(lambda token: token.type == "STRING_CHARS")
    documented_ones = re.findall(r"`([a-z]+\.[a-z]+\.[a-zA-Z]+)`", (INFRA / "README.md").read_text(), re.IGNORECASE)
    assert set(documented_ones) == {str(permission) for permission in permissions}


def test_deployers_may_wait_for_operations_of_cloud_run(production):
    """gcloud waits for the operation of a change; a role on the service does not reach operations."""
    assert "run.operations.get" in production.one("google_project_iam_custom_role")["permissions"]
    members = production.resources["google_project_iam_member"]
    assert [address for address in members if address.startswith("google_project_iam_member.deployers[")]


def test_workers_cannot_write_the_bucket_of_dags(production):
    grant = production.resources["google_project_iam_member"]["google_project_iam_member.workers_dataflow"]
    expression = grant["condition"]["expression"]
    assert 'resource.type != "storage.googleapis.com/Object"' in expression
    assert 'resource.name.startsWith("projects/_/buckets/shop-predictions-foreserve-jobs")' in expression
