"""A repository, and a cloud to deploy it to: stand-ins for gcloud, docker and terraform, with the real git."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.deployment.http_cloud import HttpCloud

ROOT = Path(__file__).parents[2]
FOLDERS = ("dags", "plugins", "prediction_store", "beam_jobs", "serving_api", "deployment")
NEVER = "0 0 before"
INSTALLED = {
    "apache-airflow": "3.1.8",
    "apache-airflow-providers-apache-beam": "6.2.3",
    "apache-airflow-providers-google": "22.0.0",
    "apache-airflow-providers-standard": "1.13.1",
    "apache-beam": "2.73.0",
    "croniter": "6.0.0",
    "google-apitools": "0.5.31",
    "google-auth-httplib2": "0.3.0",
    "google-cloud-bigquery": "3.41.0",
    "google-cloud-bigquery-storage": "2.36.0",
    "google-cloud-bigtable": "2.38.0",
    "google-cloud-storage": "3.4.0",
    "grpcio": "1.75.1",
    "hdrhistogram": "0.10.8",
    "httpx": "0.28.1",
    "jinja2": "3.1.6",
    "numpy": "1.26.4",
    "pyarrow": "21.0.0",
    "pydantic": "2.12.5",
    "pydantic-settings": "2.16.3",
    "PyYAML": "6.0.3",
}


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """A repository with one commit, which has the folders of this one that are deployed."""
    tree = tmp_path_factory.mktemp("original")
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tree / folder, ignore=ignore)
    for file in (".gitignore", ".dockerignore"):
        shutil.copy(ROOT / file, tree)
    (tree / "infra" / "environments" / "test").mkdir(parents=True)
    (tree / "infra" / "environments" / "test" / "main.tf").touch()
    git(tree, "init", "-q")
    commit(tree)
    return tree


def git(tree, *arguments):
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
    command = ["git", *identity, "-C", str(tree), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def commit(tree):
    git(tree, "add", "--all")
    git(tree, "commit", "-q", "-m", "A change")


@dataclass
class Cloud:
    """The state of the stand-ins, and the command that deploys to them."""

    state: Path
    tree: Path
    http: HttpCloud

    def load(self, name):
        return json.loads((self.state / f"{name}.json").read_text())

    def save(self, name, content):
        (self.state / f"{name}.json").write_text(json.dumps(content))

    def change(self, name, **values):
        self.save(name, self.load(name) | values)

    @property
    def bucket(self):
        return self.state / "bucket"

    def files(self):
        return {
            path.relative_to(self.bucket).as_posix(): path.read_bytes()
            for path in sorted(self.bucket.rglob("*"))
            if path.is_file()
        }

    def snapshot(self):
        """Return what users and Airflow have."""
        return {"files": self.files(), "traffic": self.load("service")["traffic"]}

    def calls(self):
        file = self.state / "calls.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def start(self, *way, failure=NEVER, name="test", path=os.environ["PATH"], **variables):
        """Start the command `deploy NAME [back]` with variables such as APPLY."""
        (self.state / "failure.txt").write_text(failure)
        (self.state / "calls.jsonl").unlink(missing_ok=True)
        path = f"{self.state / 'bin'}{os.pathsep}{path}"
        environment = {**os.environ, **self.http.environment(), "PATH": path, "FAKE_CLOUD": str(self.state)}
        return subprocess.Popen(
            [self.tree / "deployment/deploy", name, *way],
            cwd=self.tree,
            env=environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *way, **how):
        """Run the command; return its exit code and its output."""
        process = self.start(*way, **how)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    def deploy(self, *way, **variables):
        code, said = self.run(*way, APPLY="1", **variables)
        assert code == 0, said
        return said


def logged_in(folder):
    """Return the variables that log the real gcloud and bq in, as a service account that exists nowhere."""
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
    (folder / "account.json").write_text(json.dumps(account))
    variables = {
        "CONFIG": str(folder / "gcloud"),
        "AUTH_CREDENTIAL_FILE_OVERRIDE": str(folder / "account.json"),
        "AUTH_TOKEN_HOST": "http://oauth2.example/token",
        "CORE_DISABLE_PROMPTS": "1",
        "COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CORE_DISABLE_USAGE_REPORTING": "1",
    }
    return {f"CLOUDSDK_{name}": value for name, value in variables.items()}


@pytest.fixture
def http():
    cloud = HttpCloud()
    yield cloud
    cloud.close()


@pytest.fixture
def project(original, tmp_path, http):
    """A project after `terraform apply`, with an Airflow environment that others use too."""
    state = tmp_path / "cloud"
    (state / "bin").mkdir(parents=True)
    fake = Path(__file__).with_name("fake_cloud.py")
    for name in ("gcloud", "docker", "terraform"):
        script = state / "bin" / name
        script.write_text(f"#!{sys.executable} -S\n{fake.read_text()}")
        script.chmod(0o755)
    (state / "bin" / "sleep").symlink_to("/bin/true")  # nobody waits for metrics
    tree = tmp_path / "tree"
    git(original, "clone", "-q", ".", str(tree))
    (tree / "infra" / "environments" / "test").mkdir(parents=True, exist_ok=True)
    project = Cloud(state, tree, http)
    lines = (tree / "deployment" / "example.outputs").read_text().splitlines()
    outputs = dict(line.split("=") for line in lines)
    project.save("outputs", outputs | {"service": "api", "url": "http://api.example", "bucket": "gs://europe-west1-b"})
    project.save("settings", {"bucket": "europe-west1-b", "ready": True, "service_account": False})
    project.save("registry", {})
    project.save("composer", {"installed": {**INSTALLED, "somebodys": "1.2"}})
    revisions = {"api-00001": "us-docker.pkg.dev/cloudrun/container/hello"}
    project.save("service", {"revisions": revisions, "traffic": {"api-00001": 100}})
    others = {
        "dags/airflow_monitoring.py": "airflow dag",
        "dags/team/report.py": "airflow dag",
        "logs/1.log": "...",
    }
    for path, text in others.items():
        file = project.bucket / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return project
