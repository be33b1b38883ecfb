"""The workflow runs the targets of .ci/run, and those that cannot run everywhere."""

import re

import yaml

from tests.repository import ROOT

JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yaml").read_text())["jobs"]

ONLY_IN_THE_WORKFLOW = {
    "audit",  # asks osv.dev
    "sbom",
    "check-infra",  # downloads a provider
    "test-infra",  # needs Terraform
    "test-docker",  # needs a Docker engine
}


def commands(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def make_targets(text):
    return re.findall(r"^make ([\w-]+)$", text, re.MULTILINE)


def test_jobs_run_the_targets_of_the_script():
    in_script = set(make_targets((ROOT / ".ci" / "run").read_text()))
    in_jobs = {target for job in JOBS.values() for command in commands(job) for target in make_targets(command)}
    assert set(JOBS["make"]["strategy"]["matrix"]["target"]) | in_jobs == in_script | ONLY_IN_THE_WORKFLOW


def test_every_target_exists():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert ONLY_IN_THE_WORKFLOW | set(JOBS["make"]["strategy"]["matrix"]["target"]) <= set(targets)


def test_the_python_version_is_that_of_the_makefile():
    steps = yaml.safe_load((ROOT / ".github/actions/prepare/action.yaml").read_text())["runs"]["steps"]
    (version,) = (step["with"]["python-version"] for step in steps if "python-version" in step["with"])
    assert f"PYTHON ?= python{version}\n" in (ROOT / "Makefile").read_text()


def test_every_job_has_a_time_limit():
    for name, job in JOBS.items():
        assert job["timeout-minutes"] <= 60, name
