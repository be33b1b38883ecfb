"""Deployments by the real gcloud, against stand-ins for Google's HTTP APIs. Docker and Terraform are stand-ins too.

gcloud takes seconds for each command, so test_deploy.py has the cases, and this file has gcloud's part: the commands
are valid, their output is understood, and their failures are told.
"""

import json
import os
import shutil

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.deployment.conftest import INSTALLED, commit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcloud") is None, reason="gcloud is not installed; test_deploy.py has a stand-in"),
]


@pytest.fixture
def real(project, tmp_path, monkeypatch):
    """A project whose gcloud is the real one, logged in as a service account that exists nowhere."""
    (project.state / "bin" / "gcloud").unlink()
    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "shop-predictions",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "ci@shop-predictions.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": "http://oauth2.example/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    for name, value in {
        "CONFIG": str(tmp_path / "gcloud"),
        "AUTH_CREDENTIAL_FILE_OVERRIDE": str(tmp_path / "account.json"),
        "AUTH_TOKEN_HOST": "http://oauth2.example/token",
        "CORE_DISABLE_PROMPTS": "1",
        "COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CORE_DISABLE_USAGE_REPORTING": "1",
    }.items():
        monkeypatch.setenv(f"CLOUDSDK_{name}", value)
    project.http.registry = lambda: project.load("registry")
    project.http.packages = dict(INSTALLED)
    project.http.objects = {"dags/airflow_monitoring.py": b"airflow dag", "logs/1.log": b"..."}
    return project


def deploy(project, *arguments):
    process = project.start("--apply", "--watch=0", *arguments, path=os.environ["PATH"])
    said, _ = process.communicate(timeout=500)
    return process.returncode, said


def serving(cloud):
    """Return the revisions that get requests. The newest is listed a second time, with its tag."""
    return [target["revisionName"] for target in cloud.service["status"]["traffic"] if target.get("percent")]


def test_a_deployment_and_one_without_the_right_to_wait_for_operations(real):
    code, said = deploy(real)
    assert code == 0, said
    cloud = real.http
    record = json.loads(cloud.objects["data/foreserve/deployment.json"])
    assert set(record["files"]) <= cloud.objects.keys()
    assert cloud.objects["logs/1.log"] == b"..."
    assert serving(cloud) == ["api-00002"]
    (image,) = [c["image"] for c in cloud.service["spec"]["template"]["spec"]["containers"] if c.get("ports")]
    assert "/serving-api@sha256:" in image
    assert "GET next---api.example/v1/models" in cloud.requests

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
