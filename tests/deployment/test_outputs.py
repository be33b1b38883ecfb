"""Validation of Terraform's output."""

import json

import pytest

from deployment.commands import DeploymentError
from deployment.outputs import read
from tests.deployment.conftest import ROOT

EXAMPLE = json.loads((ROOT / "deployment" / "example.json").read_text())
VARIABLES = "environment_variables"


def with_variables(**values):
    return {VARIABLES: EXAMPLE[VARIABLES] | values}


def test_the_example_is_valid():
    assert read(json.dumps(EXAMPLE), "here").composer.environment == "foreserve"


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"zone": "b"}, "zone: unknown field; remove it"),
        ({"project": "Shop Predictions"}, "project: 'Shop Predictions' does not match"),
        ({"image_repository": "gcr.io/shop"}, "image_repository: 'gcr.io/shop' does not match"),
        ({"api": {"service": "s", "location": "l"}}, "api.url: the field is missing; add it"),
        ({"api": EXAMPLE["api"] | {"url": "https://a/b"}}, "api.url: 'https://a/b' does not match"),
        (
            {VARIABLES: {"FORESERVE_PROJECT": "p"}},
            "lacks FORESERVE_BIGTABLE_INSTANCE, FORESERVE_DATAFLOW_TEMP_LOCATION",
        ),
        (
            with_variables(FORESERVE_RETRIES=3),
            "environment_variables.FORESERVE_RETRIES: the value of a variable must be a",
        ),
        (
            with_variables(AIRFLOW__CORE__DAGS_FOLDER="x"),
            "environment_variables.AIRFLOW__CORE__DAGS_FOLDER: Composer accepts no",
        ),
        (with_variables(FORESERVE_DATAFLOW_SDK_CONTAINER_IMAGE="x"), "remove it from Terraform's output"),
        (with_variables(**{"A-B": "x"}), "environment_variables.A-B: 'A-B' does not match"),
    ],
)
def test_an_invalid_field_is_named_with_its_value_and_the_fix(changes, problem):
    with pytest.raises(DeploymentError) as raised:
        read(json.dumps(EXAMPLE | changes), "terraform output of infra/environments/test")
    assert str(raised.value).startswith("terraform output of infra/environments/test: ")
    assert problem in str(raised.value)


def test_a_missing_field_is_named():
    with pytest.raises(DeploymentError, match="composer: the field is missing; add it to the output `deployment`"):
        read(json.dumps({name: value for name, value in EXAMPLE.items() if name != "composer"}), "here")


def test_values_of_variables_are_not_in_errors():
    changes = with_variables(AIRFLOW_CONN_MAIL={"password": "hunter2"}, FORESERVE_PROJECT="")
    with pytest.raises(DeploymentError) as raised:
        read(json.dumps(EXAMPLE | changes), "here")
    assert "hunter2" not in str(raised.value)


def test_text_that_is_not_json_is_refused():
    with pytest.raises(DeploymentError, match="here: not JSON"):
        read("Error: no outputs", "here")
