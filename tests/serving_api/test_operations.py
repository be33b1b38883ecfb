"""What those who run the service look at."""

import re

import httpx
import pytest
from fastapi.openapi.models import OpenAPI

from serving_api.app import create_app
from serving_api.settings import Settings

pytestmark = pytest.mark.asyncio


async def test_health_and_readiness(store, serve):
    model = store.model()
    version = store.refresh(model, {"a": b"1"})
    async with serve(store.address) as client:
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        ready = (await client.get("/readyz")).json()
    assert ready["status"] == "ready"
    assert 0 <= ready["registry_age_seconds"] < 10
    assert ready["models"][model] == version
    assert ready["broken"] == {}


async def test_metrics(store, serve):
    model = store.model()
    version = store.refresh(model, {"a": b"1"})
    route = "/v1/models/{model}/predictions/{entity_id}"
    async with serve(store.address) as client:
        await client.look_up(model, "a")
        await client.look_up(model, "b/c")
        await client.get("/nowhere/a")
        assert await client.metric("foreserve_request_seconds_count", route=route, status="200") == 1
        assert await client.metric("foreserve_request_seconds_count", route=route, status="404") == 1
        assert await client.metric("foreserve_request_seconds_count", route="none", status="404") == 1
        assert await client.metric("foreserve_served_version", model=model) == version
        assert await client.metric("foreserve_served_version_age_seconds", model=model) > 0
        age = await client.metric("foreserve_registry_age_seconds")
        assert 0 < age < 10
        assert "b/c" not in (await client.get("/metrics")).text


async def test_the_openapi_document_has_every_route(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        document = (await client.get("/openapi.json")).json()
        assert (await client.get("/docs")).status_code == 200
    OpenAPI.model_validate(document)
    assert {(path, method) for path, operations in document["paths"].items() for method in operations} == {
        ("/v1/models", "get"),
        ("/v1/models/{model}", "get"),
        ("/v1/models/{model}/predictions/{entity_id}", "get"),
        ("/v1/models/{model}/predictions:batchGet", "post"),
        ("/v1/entities/{entity_type}/{entity_id}/predictions", "get"),
        ("/healthz", "get"),
        ("/readyz", "get"),
        ("/metrics", "get"),
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            parameters = operation.get("parameters", [])
            assert {p["name"] for p in parameters if p["in"] == "path"} == set(re.findall(r"{(\w+)}", path))
            assert all(p.get("description") for p in parameters)
            assert operation["summary"]
            assert "422" not in operation["responses"], "a response that is not a problem document"
            if path.startswith("/v1"):
                assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
    for reference in re.findall(r"'\$ref': '#/components/schemas/(\w+)'", str(document)):
        assert reference in document["components"]["schemas"]


async def test_a_failure_of_the_service_is_a_problem_document():
    app = create_app(Settings(project="p", instance="i"))  # whose lifespan never ran, so that it has no service
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        response = await client.get("/v1/models")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["title"] == "Internal error"
