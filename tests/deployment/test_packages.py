"""The packages that tasks import, compared with those of images of Airflow environments."""

import json
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.deployment.conftest import ROOT

PUBLISHED = json.loads(Path(__file__).with_name("published_packages.json").read_text())["images"]
LOCKS = {version: ROOT / "tests" / "airflow_versions" / f"requirements-{version}.txt" for version in ("2.11", "3.1")}


LINES = (ROOT / "deployment" / "requirements.txt").read_text().splitlines()
REQUIREMENTS = [Requirement(line.partition("#")[0]) for line in LINES if line.partition("#")[0].strip()]


def unsuitable(installed):
    """Return the requirements that packages do not meet."""
    versions = {requirement: installed.get(canonicalize_name(requirement.name), "0") for requirement in REQUIREMENTS}
    return [str(r) for r, version in versions.items() if not r.specifier.contains(version, prereleases=True)]


def locked(version):
    """Return the packages of one of the other Airflow versions that the DAGs are tested with."""
    return dict(re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==(\S+)", LOCKS[version].read_text(), re.MULTILINE))


@pytest.mark.parametrize("version", LOCKS)
def test_the_versions_that_the_dags_are_tested_with_suit(version):
    # Only launching Beam jobs needs these, and no job is launched from these environments.
    launcher = {"google-apitools": "0.5.31", "google-auth-httplib2": "0.2.0"}
    assert unsuitable(launcher | locked(version)) == []


def test_the_lower_bounds_are_those_that_the_oldest_environment_runs():
    oldest = locked("2.11")
    for requirement in REQUIREMENTS:
        (bound,) = (Version(specifier.version).release for specifier in requirement.specifier)
        assert Version(oldest[canonicalize_name(requirement.name)]).release[: len(bound)] == bound, requirement


def test_packages_that_no_image_has_are_those_that_terraform_adds():
    text = (ROOT / "infra/foreserve/composer.tf").read_text()
    added = set(re.findall(r'"([a-z-]+)"', re.search(r"for name in (\[.+\])", text)[1]))
    required = {canonicalize_name(requirement.name) for requirement in REQUIREMENTS}
    assert added == {"hdrhistogram", "pydantic-settings"}
    assert added < required


@pytest.mark.parametrize("image", PUBLISHED)
def test_published_images_suit_as_far_as_their_packages_are_known(image):
    installed = locked("3.1") | {"google-apitools": "0.5.31", "google-auth-httplib2": "0.2.0"} | PUBLISHED[image]
    assert unsuitable(installed) == []


def test_every_package_that_tasks_import_is_required():
    providers = {
        "airflow": "apache-airflow",
        "fastapi": "apache-airflow",  # the web server of Airflow 3
        "flask": "apache-airflow",  # and that of Airflow 2
        "apache_beam": "apache-beam",
        "google": "google-cloud-bigquery",
        "googleapiclient": "apache-airflow-providers-google",
        "httplib2": "apache-airflow-providers-google",
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
    required = {requirement.name for requirement in REQUIREMENTS}
    others = imported - ours - set(sys.stdlib_module_names)
    assert {providers.get(name, name) for name in others} - required == set()
