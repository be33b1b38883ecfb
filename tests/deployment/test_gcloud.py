"""Deployments by the real gcloud, against stand-ins for Google's HTTP APIs. Docker and Terraform are stand-ins too.

gcloud takes seconds for each command, so test_deploy.py has the cases, and this file has gcloud's part: the commands
are valid, their output is understood, and their failures are told.
"""

import os
import shutil

import pytest

from tests.deployment.conftest import INSTALLED, commit, logged_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed; test_deploy.py has a stand-in"),
]


@pytest.fixture
def real(project, tmp_path, monkeypatch):
    """A project whose gcloud is the real one, logged in as a service account that exists nowhere."""
    (project.state / "bin" / "gcloud").unlink()
    for name, value in logged_in(tmp_path).items():
        monkeypatch.setenv(name, value)
    project.http.registry = lambda: project.load("registry")
    project.http.packages = dict(INSTALLED)
    project.http.objects = {"dags/airflow_monitoring.py": b"airflow dag", "logs/1.log": b"..."}
    return project


def deploy(project):
    process = project.start(APPLY="1", WATCH="0", path=os.environ["PATH"])
    said, _ = process.communicate(timeout=500)
    return process.returncode, said


def serving(cloud):
    """Return the revisions that get requests. The newest is listed a second time, with its tag."""
    return [target["revisionName"] for target in cloud.service["status"]["traffic"] if target.get("percent")]


def test_a_deployment_and_one_without_the_right_to_wait_for_operations(real):
    code, said = deploy(real)
    assert code == 0, said
    cloud = real.http
    record = cloud.objects["data/foreserve/deployment.txt"].decode().splitlines()
    files = {line.removeprefix("file=") for line in record if line.startswith("file=")}
    assert len(files) > 50
    assert files <= cloud.objects.keys()
    assert cloud.objects["logs/1.log"] == b"..."
    assert serving(cloud) == ["api-00002"]
    (image,) = [c["image"] for c in cloud.service["spec"]["template"]["spec"]["containers"] if c.get("ports")]
    assert "/serving-api@sha256:" in image
    assert "GET next---api.example/v1/models" in cloud.requests
    assert "full" not in cloud.projections  # access lists, which the role of deployers may not read

    with (real.tree / "serving_api" / "app.py").open("a") as file:
        file.write("\n# a change\n")
    shutil.rmtree(real.tree / "dags/pipelines/customer_segment")
    commit(real.tree)
    cloud.refusals = [("operations/one:wait", 403)]
    code, said = deploy(real)
    assert code == 0, said
    assert "refused: POST" in said  # gcloud failed, and the state was read instead
    assert serving(cloud) == ["api-00003"]
    assert not [name for name in cloud.objects if "customer_segment" in name]


@pytest.mark.parametrize(
    ("refused", "state"),
    [
        (r"composer.*:executeAirflowCommand", "Nothing was changed."),
        (r"GET artifactregistry.*dockerImages", "Nothing was changed."),
        (r"GET storage.*/o$", "Users and Airflow have what they had before."),
        (r"GET .*run.googleapis.com", "Users and Airflow have what they had before."),
        (r"PUT .*run.googleapis.com", "Lookups go where they went before, mostly to api-00001"),
        (r"GET next---api.example", "Lookups go where they went before, mostly to api-00001"),
        (r"POST storage.*upload", "All lookups go to api-00002. Airflow has files of no deployment."),
    ],
)
def test_a_refusal_is_told_with_the_state_and_the_remedy(real, refused, state):
    real.http.refusals = [(refused, 403)]
    code, said = deploy(real)
    assert code == 1
    assert "FAILED" in said
    assert f"\n{state}" in said, said
    assert "Traceback" not in said
