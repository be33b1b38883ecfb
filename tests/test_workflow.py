"""The workflow runs the targets of .ci/run, and those that cannot run everywhere."""

import re

import yaml

from tests.repository import ROOT

JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yaml").read_text())["jobs"]

MADE_ONLY_THERE = {
    "check-infra",  # downloads a provider
    "test-infra",  # needs Terraform
    "test-docker",  # needs a Docker engine
}


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def made(text):
    return re.findall(r"^make ([\w-]+)$", text, re.MULTILINE)


def test_jobs_make_what_the_script_makes():
    here = set(made((ROOT / ".ci" / "run").read_text()))
    there = {target for job in JOBS.values() for command in commands(job) for target in made(command)}
    assert set(JOBS["make"]["strategy"]["matrix"]["target"]) | there == here | MADE_ONLY_THERE


def test_jobs_make_what_there_is():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert MADE_ONLY_THERE | set(JOBS["make"]["strategy"]["matrix"]["target"]) <= set(targets)


def test_python_is_ours():
    steps = yaml.safe_load((ROOT / ".github/actions/prepare/action.yaml").read_text())["runs"]["steps"]
    (version,) = (step["with"]["python-version"] for step in steps if "python-version" in step["with"])
    assert f"PYTHON ?= python{version}\n" in (ROOT / "Makefile").read_text()


def test_every_job_ends_in_time():
    for name, job in JOBS.items():
        assert job["timeout-minutes"] <= 60, name
