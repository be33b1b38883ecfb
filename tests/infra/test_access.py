"""Terraform grants the roles in the documents, each on the narrowest resource that has a policy."""

import re
import shutil

import pytest

from tests.infra.configuration import Module, names, text
from tests.infra.evaluation import INFRA

ACCOUNTS = {
    "local.airflow": "Airflow's workers",
    "local.workers": "Dataflow's workers",
    "local.api": "the lookup service",
}
EACH = {"access": "callers", "deployers": "deployers"}

RESOURCES = {
    ("google_project_iam_member", "project", "var.project"): "the project",
    ("google_bigquery_dataset_iam_member", "dataset_id", "var.dataset"): "the dataset of refreshes",
    ("google_bigquery_dataset_iam_member", "dataset_id", "each.key"): "each dataset that pipelines read",
    ("google_bigtable_instance_iam_member", "instance", "var.bigtable_instance"): "the Bigtable instance",
    ("google_bigtable_table_iam_member", "table", "var.registry_table"): "the table `prediction_versions`",
    ("google_bigtable_table_iam_member", "table", "each.value"): "each table of predictions",
    ("google_storage_bucket_iam_member", "bucket", "var.jobs_bucket"): "the bucket of Dataflow's files",
    ("google_storage_bucket_iam_member", "bucket", "var.reports_bucket"): "the bucket of reports",
    ("google_storage_bucket_iam_member", "bucket", "var.composer_bucket"): "Composer's bucket",
    ("google_service_account_iam_member", "service_account_id", "var.workers"): "the account of Dataflow's workers",
    ("google_service_account_iam_member", "service_account_id", "var.api"): "the account of the lookup service",
    ("google_service_account_iam_member", "service_account_id", "var.airflow"): "the account of Airflow's workers",
    ("google_cloud_run_v2_service_iam_member", "name", "var.api_service"): "the lookup service",
    ("google_artifact_registry_repository_iam_member", "repository", "var.repository"): "the repository of images",
}
"""The resource of a grant, by the type of the grant, the argument that names the resource, and its value."""

ONLY_ON_A_PROJECT = {
    "roles/bigquery.jobUser",
    "roles/bigquery.readSessionUser",
    "roles/composer.admin",
    "roles/composer.worker",
    "roles/dataflow.developer",
    "roles/dataflow.worker",
    "roles/monitoring.metricWriter",
}
"""Roles on things without a policy of their own: jobs, sessions, environments, metrics."""


def iam_blocks(modules=INFRA / "modules"):
    for folder in modules.iterdir():
        for block in Module.load(folder).of("resource").values():
            if "_iam_" in block.labels[0]:
                yield folder.name, block


def named(block, argument):
    return [".".join(name) for name in names(block.arguments[argument])]


def granted(modules=INFRA / "modules"):
    """Yield account, role and resource of every grant."""
    for module, block in iam_blocks(modules):
        (member,) = named(block, "member")
        account = EACH[module] if member == "each.key" else ACCOUNTS[member]
        (on,) = {
            meaning
            for (kind, argument, name), meaning in RESOURCES.items()
            if kind == block.labels[0] and name in named(block, argument)
        }
        yield account, text(block.arguments["role"]), on


def documented():
    section = (INFRA / "README.md").read_text().split("<!-- rights -->")[1].split("<!-- end -->")[0]
    names = {name.lower(): name for name in {*ACCOUNTS.values(), *EACH.values()}}
    for account, rights in re.findall(r"^\*\*(.+)\*\*\n\n((?:- .+\n)+)", section, re.MULTILINE):
        for role, on in re.findall(r"^- `(roles/[\w.]+)`: (.+)$", rights, re.MULTILINE):
            yield names[account.lower()], role, on


def roles(account):
    return {role for who, role, _ in granted() if who == account}


def test_every_grant_is_in_the_document_and_the_reverse():
    assert sorted(granted()) == sorted(documented())


def test_a_grant_that_is_not_in_the_document_is_found(tmp_path):
    modules = shutil.copytree(INFRA / "modules", tmp_path / "modules")
    file = modules / "access" / "api.tf"
    file.write_text(file.read_text().replace("roles/bigtable.reader", "roles/bigtable.user"))
    found = ("the lookup service", "roles/bigtable.user", "the Bigtable instance")
    assert set(granted(modules)) - set(documented()) == {found}


def test_grants_leave_those_of_others_in_place():
    assert {block.labels[0].rpartition("_")[2] for _, block in iam_blocks()} == {"member"}


def test_roles_are_literals():
    for _, block in iam_blocks():
        assert re.fullmatch(r"roles/\w+\.\w+", text(block.arguments["role"])), block
        assert named(block, "role") == [], block


def test_no_role_is_on_the_project_if_a_narrower_resource_takes_it():
    assert {role for _, role, on in granted() if on == "the project"} <= ONLY_ON_A_PROJECT


@pytest.mark.parametrize("role", ["owner", "editor", "viewer", "bigtable.admin", "iam.serviceAccountTokenCreator"])
def test_no_account_has_a_broad_role(role):
    assert f"roles/{role}" not in {granted_role for _, granted_role, _ in granted()}


def test_the_lookup_service_cannot_write():
    assert roles("the lookup service") == {"roles/bigtable.reader", "roles/monitoring.metricWriter"}


def test_every_grant_has_a_comment_with_its_reason():
    for folder in ("access", "deployers"):
        for file in (INFRA / "modules" / folder).glob("*.tf"):
            for before in re.split(r"^resource .+ \{$", file.read_text(), flags=re.MULTILINE)[:-1]:
                assert re.search(r"^# .+\n\Z", before, re.MULTILINE), f"{file.name}: {before[-200:]}"
