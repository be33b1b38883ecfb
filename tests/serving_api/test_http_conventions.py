"""Conventions of HTTP that every route keeps: HEAD, conditional requests, lengths, parameters, numbers."""

import pytest

pytestmark = pytest.mark.asyncio

PATHS = (
    "/v1/models/m/predictions/a",
    "/v1/models/m/predictions/absent",
    "/v1/entities/things/a/predictions",
    "/v1/models",
    "/v1/models/m",
    "/v1/nowhere",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/",
    "/docs",
    "/page/page.js",
)
ANSWERS = ("content-type", "etag", "cache-control", "allow")


@pytest.mark.parametrize("path", PATHS)
async def test_head_is_answered_as_get_without_a_body(wire, serve, path):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        get, head = await client.get(path), await client.head(path)
        assert (head.status_code, head.content) == (get.status_code, b"")
        assert {n: head.headers.get(n) for n in ANSWERS} == {n: get.headers.get(n) for n in ANSWERS}
        assert int(head.headers["content-length"]) > 0
        # The connection is still in order.
        assert (await client.get("/healthz")).json() == {"status": "alive"}
        batch = await client.head("/v1/models/m/predictions:batchGet")
        assert (batch.status_code, batch.headers["allow"]) == (405, "POST")


async def test_any_answer_that_the_client_has_is_valid_if_there_is_a_prediction(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for path, absent in (
            ("/v1/models/m/predictions/a", "/v1/models/m/predictions/absent"),
            ("/v1/entities/things/a/predictions", "/v1/entities/things/absent/predictions"),
        ):
            answer = await client.get(path, headers={"If-None-Match": "*"})
            assert (answer.status_code, answer.content) == (304, b"")
            assert answer.headers["etag"] == (await client.get(path)).headers["etag"]
            assert (await client.get(absent, headers={"If-None-Match": "*"})).status_code == 404


@pytest.mark.parametrize("length", [20_000, 60_000])
async def test_a_long_target_is_answered_with_a_problem(wire, serve, length):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for path in (f"/v1/models/m/predictions/{'a' * length}", f"/v1/models/m?x={'a' * length}", f"/{'a' * length}"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["title"]) == (414, "URI too long")
            assert answer.headers["content-type"] == "application/problem+json"


async def test_unknown_query_parameters_are_refused_by_name(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for path in ("/v1/models/m/predictions/a", "/v1/entities/things/a/predictions", "/v1/models", "/v1/models/m"):
            answer = await client.get(path, params={"versoin": "1"})
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["field"] == "versoin"
        entity = await client.get("/v1/entities/things/a/predictions", params={"version": "1"})
        assert (entity.status_code, entity.json()["errors"][0]["field"]) == (422, "version")
        batch = "/v1/models/m/predictions:batchGet"
        answer = await client.post(batch, params={"version": "1"}, json={"entity_ids": ["a"]})
        assert answer.status_code == 422
        assert answer.json()["errors"] == [
            {"field": "version", "message": "no such query parameter; send it in the body"}
        ]
        twice = await client.get("/v1/models/m/predictions/a?version=1&version=2")
        assert twice.json()["errors"] == [{"field": "version", "message": "is given more than once"}]
    assert wire.reads == []


@pytest.mark.parametrize("value", ["9" * 312, "9" * 5000, "1_000", "+5", "1e3", "-1", "inf"])
async def test_numbers_are_plain_digits_of_a_possible_size(wire, serve, value):
    lookup, batch = "/v1/models/m/predictions/a", "/v1/models/m/predictions:batchGet"
    entity, body = "/v1/entities/things/a/predictions", {"entity_ids": ["a"]}
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for answer in (
            await client.get(lookup, headers={"X-Deadline-Ms": value}),
            await client.get(entity, headers={"X-Deadline-Ms": value}),
            await client.post(batch, headers={"X-Deadline-Ms": value}, json=body),
            await client.get(lookup, params={"version": value}),
            await client.post(batch, json={**body, "version": value if value == "inf" else -1}),
            await client.post(batch, json={**body, "version": 10**312}),
        ):
            assert answer.status_code == 422
            assert answer.json()["title"] == "Invalid request"
            assert len(answer.content) < 1000
    assert wire.reads == []
