"""Routes for operators: health, readiness, metrics."""

import httpx
import pytest

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
        await client.lookup(model, "a")
        await client.lookup(model, "b/c")
        await client.get("/nowhere/a")
        assert await client.metric("foreserve_request_seconds_count", route=route, status="200") == 1
        assert await client.metric("foreserve_request_seconds_count", route=route, status="404") == 1
        assert await client.metric("foreserve_request_seconds_count", route="none", status="404") == 1
        assert await client.metric("foreserve_active_version", model=model) == version
        assert await client.metric("foreserve_active_version_age_seconds", model=model) > 0
        age = await client.metric("foreserve_registry_age_seconds")
        assert 0 < age < 10
        assert "b/c" not in (await client.get("/metrics")).text


async def test_live_metrics_are_beside_the_held_out_ones(store, serve):
    model = store.model()
    version = store.refresh(model, {"a": b"1"})
    live = {"metrics": {"roc_auc": 0.7, "log_loss": None}, "held_out": {"roc_auc": 0.8}, "breaches": ["it is low"]}
    store.registry.update(model, lambda state: state.note(version, live=live))
    store.refresh(model, {"a": b"2"})
    async with serve(store.address) as client:
        for rows, value in (("live", 0.7), ("held_out", 0.8)):
            assert await client.metric("foreserve_quality", model=model, metric="roc_auc", rows=rows) == value
        assert await client.metric("foreserve_live_breaches", model=model) == 1
        assert await client.metric("foreserve_active_version_max_age_seconds", model=model) == 36 * 3600
        view = (await client.get(f"/v1/models/{model}")).json()
    (now, then) = [each["served"] for each in view["versions"]]
    assert now == [{"since": then[0]["until"], "until": None}]


async def test_a_bug_is_answered_with_a_problem_document():
    # The lifespan of this application does not run, so it has no service.
    app = create_app(Settings(project="p", instance="i"))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        response = await client.get("/v1/models")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["title"] == "Internal error"
