"""Whether images of Airflow environments have what tasks import."""

import json
import re
import sys
from pathlib import Path

import pytest

from deployment import packages
from deployment.errors import DeploymentError
from tests.deployment.conftest import ROOT

PUBLISHED = json.loads(Path(__file__).with_name("published_packages.json").read_text())["images"]
LOCKS = {version: ROOT / "tests" / "airflow_versions" / f"requirements-{version}.txt" for version in ("2.11", "3.1")}


def locked(version):
    """The packages of one of the other Airflow versions that the DAGs are tested with."""
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==(\S+)", LOCKS[version].read_text(), re.MULTILINE))


@pytest.mark.parametrize("version", LOCKS)
def test_what_the_dags_are_tested_with_does(version):
    lacking = packages.missing(locked(version), {}, version)
    assert lacking.keys() <= {"google-apitools", "google-auth-httplib2"}  # no Beam job is launched from these


@pytest.mark.parametrize("version", LOCKS)
def test_what_an_image_lacks_is_added(version):
    installed = {
        name: found for name, found in locked(version).items() if name not in ("hdrhistogram", "pydantic-settings")
    }
    lacking = packages.missing(installed | {"google-apitools": "0.5.31", "google-auth-httplib2": "0.2.0"}, {}, version)
    assert lacking == {"hdrhistogram": ">=0.10", "pydantic-settings": ">=2.6"}


@pytest.mark.parametrize("image", PUBLISHED)
def test_what_is_known_of_published_images_does_not_conflict(image):
    packages.missing(PUBLISHED[image], {}, image)


def test_what_a_team_has_added_keeps_its_extras():
    installed = locked("3.1") | {"apache-beam": "2.50.0"}
    assert packages.missing(installed, {"apache-beam": "[gcp]==2.50.0"}, "3.1")["apache-beam"] == "[gcp]>=2.60"


def test_what_belongs_to_the_image_is_not_replaced():
    with pytest.raises(DeploymentError) as raised:
        packages.missing(
            {"pydantic": "1.10.0", "jinja2": "3.0.3", "hdrhistogram": "0.1"}, {"hdrhistogram": "==0.1"}, "i"
        )
    assert "i comes with jinja2 3.0.3; tasks need >=3.1 and with pydantic 1.10.0; tasks need >=2.11" in str(
        raised.value
    )


def test_what_was_added_to_the_image_is_set_to_another_version():
    lacking = packages.missing({"hdrhistogram": "0.1"}, {"HDRhistogram": "==0.1"}, "image")
    assert lacking["hdrhistogram"] == ">=0.10"


def test_a_list_that_is_none_is_refused():
    with pytest.raises(DeploymentError, match="cannot be read from what gcloud printed"):
        packages.parse_list("Permission denied")


def test_every_package_that_tasks_import_is_required():
    """Each package of others that operators, factory or jobs import comes with a requirement."""
    providers = {
        "airflow": "apache-airflow",
        "apache_beam": "apache-beam",
        "google": "google-cloud-bigquery",
        "grpc": "grpcio",
        "hdrh": "hdrhistogram",
        "yaml": "pyyaml",
        "pydantic_settings": "pydantic-settings",
    }
    files = [
        file
        for folder in ("dags", "plugins", "prediction_store", "beam_jobs")
        for file in (ROOT / folder).rglob("*.py")
    ]
    files = [file for file in files if not file.is_relative_to(ROOT / "dags" / "refresh_factory" / "check")]
    imported = {
        name
        for file in files
        for name in re.findall(r"^\s*(?:from|import) ([a-z_0-9]+)", file.read_text(), re.MULTILINE)
    }
    ours = {"foreserve", "prediction_store", "beam_jobs", "refresh_factory"}
    required = {requirement.name for requirement in packages.requirements()}
    others = imported - ours - set(sys.stdlib_module_names)
    assert {providers.get(name, name) for name in others} - required == set()
