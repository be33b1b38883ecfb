"""The commands of docs/deploy.md, run as they are written, except those that the document marks as not tested.

gcloud, bq and Terraform are the real ones, against stand-ins for Google's HTTP APIs and for Terraform's provider.
Docker is a stand-in, and so is the gcloud of `make deploy`, which test_gcloud.py runs with the real one.
"""

import gzip
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deployment.conftest import NEVER, ROOT, commit, logged_in
from tests.infra.evaluation import copy_configuration

DOCUMENT = (ROOT / "docs/deploy.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.+?)```", DOCUMENT, re.DOTALL)
NOT_TESTED = {
    "gcloud auth login",
    "gcloud auth application-default login",
    "gcloud run services proxy foreserve-api --region=$REGION",
}
STAND_IN = [ROOT / ".venvs/stand_in/bin/python", ROOT / "tests/infra/terraform/stand_in.py"]
DISCOVERY = "platform/bq/discovery_next/bigquery.json"


def test_all_blocks_are_commands_and_only_those_that_cannot_be_run_are_marked():
    assert {language for language, _ in BLOCKS} == {"sh"}
    marked = re.findall(r"^(.+?) +# not tested: .+$", DOCUMENT, re.MULTILINE)
    assert set(marked) == NOT_TESTED
    for command in re.findall(r"`((?:gcloud|bq|terraform) [^`]+)`", DOCUMENT):
        assert command.split()[0] == "terraform", f"a command in a sentence is not run: {command}"


def test_every_target_of_make_in_the_document_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", DOCUMENT)) <= targets


class Reader:
    """Runs the blocks one after the other, each in a shell that has the variables of those before."""

    def __init__(self, project, variables):
        self.project = project
        self.variables = variables
        self.set = ""

    def run(self, block):
        lines = [line for line in block.splitlines() if "# not tested" not in line]
        prepared = self.project.state / "bin"
        if "make deploy" not in block:  # only Docker is a stand-in
            prepared = self.project.state / "docker"
        path = f"{prepared}{os.pathsep}{os.environ['PATH']}"
        with subprocess.Popen(["/usr/bin/env", "yes"], stdout=subprocess.PIPE) as yes:  # one answer for each question
            ended = subprocess.run(
                ["/usr/bin/env", "bash", "-euc", f"{self.set}\n" + "\n".join(lines)],
                cwd=self.project.tree,
                env={**os.environ, **self.variables, "PATH": path},
                stdin=yes.stdout,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
            yes.kill()
        assert ended.returncode == 0, f"{block}\n{ended.stdout[-3000:]}{ended.stderr[-3000:]}"
        self.set += "".join(f"{line}\n" for line in lines if line.startswith("export "))
        return ended.stdout


@pytest.fixture
def reader(project, tmp_path):
    """A reader at the root of the repository, with an empty project."""
    tree, http = project.tree, project.http
    configuration = copy_configuration(tmp_path / "configuration").parent
    shutil.rmtree(tree / "infra")
    for name in ("infra", "monitoring", "requirements.txt"):
        (configuration / name).rename(tree / name)
    (tree / "local_stack" / "data").mkdir(parents=True)
    for name in ("cdnow_transactions.csv.gz", "grocery_purchases.parquet"):
        shutil.copy(ROOT / "local_stack/data" / name, tree / "local_stack/data")
    shutil.copy(ROOT / "Makefile", tree)
    commit(tree)
    (project.state / "bin" / "terraform").unlink()
    (project.state / "docker").mkdir()
    shutil.copy(project.state / "bin/docker", project.state / "docker")
    (project.state / "failure.txt").write_text(NEVER)
    project.change("settings", bucket="europe-west1-foreserve-bucket")
    http.objects = {"dags/decisions.py": b"a DAG"}
    sdk = Path(shutil.which("gcloud")).resolve().parents[1]
    (tmp_path / "bigqueryrc").write_text(
        f"api = {http.address}\nproject_id = shop-predictions\ndiscovery_file = {sdk / DISCOVERY}\n"
    )
    with subprocess.Popen(STAND_IN, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as provider:
        yield Reader(
            project,
            {
                **http.environment(),
                **logged_in(tmp_path),
                "BIGQUERYRC": str(tmp_path / "bigqueryrc"),
                "CHECKPOINT_DISABLE": "1",
                "DOCKER_CONFIG": str(tmp_path / "docker"),
                "FAKE_CLOUD": str(project.state),
                "HOME": str(tmp_path),
                "MAKEFLAGS": "",
                "TF_CLI_ARGS_apply": "-auto-approve",
                "TF_CLI_ARGS_destroy": "-auto-approve",
                "TF_CLI_CONFIG_FILE": os.devnull,
                "TF_REATTACH_PROVIDERS": provider.stdout.readline().strip(),
                "WATCH": "0",
            },
        )
        provider.stdin.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("terraform") is None, reason="Terraform is not installed")
@pytest.mark.skipif(shutil.which("gcloud") is None or shutil.which("bq") is None, reason="gcloud is not installed")
@pytest.mark.skipif(not STAND_IN[0].exists(), reason="the stand-in provider is not installed: make test-infra")
def test_an_empty_project_is_filled_used_and_emptied_by_the_commands(project, reader):
    http, tools, data, terraform, elsewhere, deploy, back, airflow, lookup, delete = (
        project.http,
        *(block for _, block in BLOCKS),
    )
    reader.run(tools)
    assert "POST serviceusage.googleapis.com/v1/projects/shop-predictions/services:batchEnable" in http.requests
    assert "europe-west1-docker.pkg.dev" in (project.state.parent / "docker" / "config.json").read_text()

    reader.run(data)
    assert http.datasets == {"grocery", "shop"}
    (count,) = re.findall(r"Expect ([\d,]+) rows", DOCUMENT)
    assert len(gzip.decompress(http.rows).splitlines()) - 1 == int(count.replace(",", ""))

    reader.run(terraform.replace("minimal", "airflow_elsewhere"))
    assert '"FORESERVE_PROJECT":"shop-predictions"' in reader.run(elsewhere)
    shutil.rmtree(project.tree / "infra/environments/test")
    assert "Apply complete!" in reader.run(terraform)

    hello = {"foreserve-api-00001": "us-docker.pkg.dev/cloudrun/container/hello"}
    project.save("service", {"revisions": hello, "traffic": {"foreserve-api-00001": 100}})
    url = "http://api.example"  # reachable, unlike the one that the stand-in made up
    provider = "https://foreserve-api-abc.a.run.app"
    state = project.tree / "infra/environments/test/terraform.tfstate"
    state.write_text(state.read_text().replace(provider, url))
    commit(project.tree)
    said = reader.run(deploy)
    assert "Nothing was changed." in said
    assert "Deployed." in said
    with (project.tree / "serving_api" / "app.py").open("a") as file:
        file.write("\n# a change\n")
    commit(project.tree)
    reader.run(deploy)
    assert project.load("service")["traffic"] == {"foreserve-api-00003": 100}
    reader.run(back)
    assert project.load("service")["traffic"] == {"foreserve-api-00002": 100}

    assert reader.run(airflow).strip() == "https://airflow.example"
    reader.run(lookup)
    assert "GET api.example/v1/models/repeat_purchase/predictions/00003" in http.requests

    assert "Destroy complete!" in reader.run(delete)
    assert (http.objects, http.datasets) == ({}, set())
    assert "DELETE storage.googleapis.com/storage/v1/b/europe-west1-foreserve-bucket" in http.requests
