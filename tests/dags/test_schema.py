import json

import jsonschema
import pytest
import yaml

from refresh_factory.pipeline import PIPELINES
from refresh_factory.schema import SCHEMA_FILE, pipeline_schema

TEMPLATE = PIPELINES.parent / "refresh_factory" / "template"
FILES = [*PIPELINES.glob("*/pipeline.yaml"), TEMPLATE / "pipeline.yaml"]


@pytest.fixture(scope="module")
def schema():
    return json.loads(SCHEMA_FILE.read_text())


def test_the_published_schema_is_that_of_the_model():
    assert SCHEMA_FILE.read_text() == pipeline_schema(), "run make schema"


def test_it_is_a_schema_and_explains_every_field(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    for section in (schema, *schema["$defs"].values()):
        for name, field in section["properties"].items():
            assert "description" in field or "$ref" in field, name


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.parent.name)
def test_every_pipeline_names_the_schema_and_satisfies_it(file, schema):
    first = file.read_text().splitlines()[0]
    assert (file.parent / first.removeprefix("# yaml-language-server: $schema=")).resolve() == SCHEMA_FILE
    jsonschema.validate(yaml.safe_load(file.read_text()), schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    "wrong", [{"entity": "x"}, {"row_keys": "salted"}, {"variables": {"My-Days": 3}}, {"smoke_test": {"rate": 0}}]
)
def test_an_editor_sees_what_the_loader_refuses(schema, wrong):
    good = {"model": "churn", "entity_type": "customer", "quality_gate": {"metrics": {"roc_auc": {"minimum": 0.7}}}}
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid(good)
    assert not validator.is_valid(good | wrong)
