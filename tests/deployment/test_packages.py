"""The packages that tasks import, compared with those of images of Airflow environments."""

import json
import re
import sys
from pathlib import Path

import pytest

from deployment import packages
from deployment.commands import DeploymentError
from tests.deployment.conftest import ROOT

PUBLISHED = json.loads(Path(__file__).with_name("published_packages.json").read_text())["images"]
LOCKS = {version: ROOT / "tests" / "airflow_versions" / f"requirements-{version}.txt" for version in ("2.11", "3.1")}


def locked(version):
    """Return the packages of one of the other Airflow versions that the DAGs are tested with."""
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==(\S+)", LOCKS[version].read_text(), re.MULTILINE))


@pytest.mark.parametrize("version", LOCKS)
def test_the_versions_that_the_dags_are_tested_with_suit(version):
    lacking = packages.missing(locked(version), {}, version)
    # Only launching Beam jobs needs these, and no job is launched from these environments.
    assert lacking.keys() <= {"google-apitools", "google-auth-httplib2"}


@pytest.mark.parametrize("version", LOCKS)
def test_packages_that_an_image_lacks_are_added(version):
    installed = {
        name: found for name, found in locked(version).items() if name not in ("hdrhistogram", "pydantic-settings")
    }
    lacking = packages.missing(installed | {"google-apitools": "0.5.31", "google-auth-httplib2": "0.2.0"}, {}, version)
    assert lacking == {"hdrhistogram": ">=0.10", "pydantic-settings": ">=2.6"}


@pytest.mark.parametrize("image", PUBLISHED)
def test_published_images_do_not_conflict(image):
    packages.missing(PUBLISHED[image], {}, image)


def test_a_package_that_a_team_added_keeps_its_extras():
    installed = locked("3.1") | {"apache-beam": "2.50.0"}
    assert packages.missing(installed, {"apache-beam": "[gcp]==2.50.0"}, "3.1")["apache-beam"] == "[gcp]>=2.60"


def test_a_package_of_the_image_itself_is_not_replaced():
    with pytest.raises(DeploymentError) as raised:
        packages.missing(
            {"pydantic": "1.10.0", "jinja2": "3.0.3", "hdrhistogram": "0.1"}, {"hdrhistogram": "==0.1"}, "i"
        )
    assert "i comes with jinja2 3.0.3; tasks need >=3.1 and with pydantic 1.10.0; tasks need >=2.11" in str(
        raised.value
    )


def test_a_package_that_was_added_to_the_image_is_set_to_another_version():
    lacking = packages.missing({"hdrhistogram": "0.1"}, {"HDRhistogram": "==0.1"}, "image")
    assert lacking["hdrhistogram"] == ">=0.10"


def test_a_list_in_another_form_is_refused():
    with pytest.raises(DeploymentError, match="cannot be read from gcloud's output"):
        packages.parse_list("Permission denied")


def test_every_package_that_tasks_import_is_required():
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
