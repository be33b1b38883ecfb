"""The OpenAPI document, and a client that is generated from it."""

import asyncio
import json
import re
from pathlib import Path

import pytest
from fastapi.openapi.models import OpenAPI
from jsonschema import Draft202012Validator

from serving_api.access.api_keys import new_key
from serving_api.app import create_app
from serving_api.settings import Settings

TOOLS = Path(__file__).parents[2] / ".venvs" / "tools" / "bin"
OPERATIONS = {
    "get_prediction": ("get", "/v1/models/{model}/predictions/{entity_id}"),
    "batch_get_predictions": ("post", "/v1/models/{model}/predictions:batchGet"),
    "get_entity_predictions": ("get", "/v1/entities/{entity_type}/{entity_id}/predictions"),
    "list_models": ("get", "/v1/models"),
    "get_model": ("get", "/v1/models/{model}"),
    "healthz": ("get", "/healthz"),
    "readyz": ("get", "/readyz"),
    "metrics": ("get", "/metrics"),
}


@pytest.fixture(scope="module")
def document():
    return create_app(Settings(project="p", instance="i", auth="api_keys", callers_file="callers.json")).openapi()


@pytest.fixture(params=OPERATIONS)
def operation(request, document):
    method, path = OPERATIONS[request.param]
    return document["paths"][path][method]


def test_every_route_is_in_the_document_by_a_name_that_stays(document):
    OpenAPI.model_validate(document)
    found = {
        operation["operationId"]: (method, path)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    assert found == OPERATIONS
    for reference in re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)):
        assert reference in document["components"]["schemas"]


def test_parameters_are_described(operation, document):
    parameters = operation.get("parameters", [])
    path = next(path for path, operations in document["paths"].items() if operation in operations.values())
    assert {p["name"] for p in parameters if p["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
    assert all(p.get("description") for p in parameters)
    assert operation["summary"]


def test_answers_have_examples_that_fit(operation, document):
    for status, answer in operation["responses"].items():
        if status == "304":
            continue
        ((media_type, content),) = answer["content"].items()
        assert (media_type == "application/problem+json") == (int(status) >= 400)
        examples = [e["value"] for e in content.get("examples", {}).values()] or [content["example"]]
        assert examples
        schema = {**content.get("schema", {}), "components": document["components"]}
        for example in examples:
            Draft202012Validator(schema).validate(example)
            assert int(status) < 400 or example["status"] == int(status)


def test_operations_that_need_a_key_say_so(operation):
    guarded = not operation["operationId"].endswith("z")
    assert operation.get("security", []) == ([{"bearer": []}, {"api_key": []}] if guarded else [])
    assert {"401", "403", "429"} & set(operation["responses"]) == ({"401", "403", "429"} if guarded else set())
    if guarded:
        assert "WWW-Authenticate" in operation["responses"]["401"]["headers"]
        assert "Retry-After" in operation["responses"]["429"]["headers"]


@pytest.mark.asyncio
async def test_a_generated_client_works(store, serve, tmp_path):
    model = store.model()
    store.refresh(model, {"a/b": b'{"n":1}'})
    candidate = store.export(model, {"a/b": b'{"n":2}'})
    key, callers = new_key(), tmp_path / "callers.json"
    entry = {"name": "shop", "models": [model], "keys": [{"id": key.id, "sha256": key.sha256}]}
    callers.write_text(json.dumps({"callers": [entry]}))
    async with serve(store.address, auth="api_keys", callers_file=callers) as client:
        output = await run(
            TOOLS / "openapi-python-client",
            "generate",
            "--url",
            f"{client.base_url}/openapi.json",
            "--meta",
            "none",
            "--output-path",
            tmp_path / "client",
            cwd=tmp_path,
        )
        assert "unsupported" not in output.lower()
        entity_type = store.registry.get(model).entity_type
        script = Path(__file__).with_name("client_of_document.py").read_text()
        (tmp_path / "use.py").write_text(script)
        await run(TOOLS / "python", "use.py", client.base_url, key.key, model, entity_type, candidate, cwd=tmp_path)


async def run(*command, cwd):
    """Run a program; returns its output."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
