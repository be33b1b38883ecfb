"""Lookups through the service, against a Bigtable emulator."""

import asyncio
import json
from urllib.parse import quote

import pytest
from starlette.routing import Route

from prediction_store.layout import MAX_ENTITY_ID_BYTES
from serving_api.http.problems import unreadable_body
from serving_api.http.routes.lookup import refuse_shadowed
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

HARMLESS_IDS = ("1", "a/b", "a b+c", "żółć", "🐻", "x/predictions", "a:batchGet")
UNUSUAL_IDS = ("/", "a//b/", "50%", "%2F", "q?x#y", 'quo"te', "\ufffd", "line\nbreak", "end\n", "\r\n", "\0")


async def test_the_answer_has_the_stored_bytes(store, serve):
    # A parser would not preserve this payload.
    payload = b'{"p": 0.10, "n":12345678901234567890, "s":"caf\xc3\xa9"}'
    model = store.model()
    version = store.refresh(model, {"anna": payload})
    async with serve(store.address) as client:
        response = await client.lookup(model, "anna")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert payload in response.content
    answer = response.json()
    assert list(answer) == ["model", "entity_id", "version", "created_at", "prediction"]
    assert (answer["model"], answer["entity_id"], answer["version"]) == (model, "anna", version)
    assert answer["prediction"]["n"] == 12345678901234567890


async def test_created_at_is_the_time_of_the_version(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.lookup("m", "a")).json()["created_at"] == "2025-06-15T15:06:40.123Z"


@pytest.mark.parametrize("row_keys", ["plain", "hashed"])
async def test_every_id_is_found(store, serve, row_keys):
    model = store.model(row_keys=row_keys)
    ids = [*HARMLESS_IDS, *UNUSUAL_IDS]
    store.refresh(model, {entity_id: b"%d" % n for n, entity_id in enumerate(ids)})
    entity_type = store.registry.get(model).entity_type
    async with serve(store.address) as client:
        for n, entity_id in enumerate(ids):
            single = (await client.lookup(model, entity_id)).json()
            entity = (await client.get(f"/v1/entities/{entity_type}/{quote(entity_id, safe='')}/predictions")).json()
            assert (single["entity_id"], single["prediction"]) == (entity_id, n)
            assert (entity["entity_id"], entity["predictions"][model]["prediction"]) == (entity_id, n)
        batch = (await client.batch(model, ids)).json()
    assert batch["predictions"] == {entity_id: n for n, entity_id in enumerate(ids)}


async def test_a_slash_may_be_sent_as_it_is(store, serve):
    model = store.model()
    store.refresh(model, {"shop/7": b"1"})
    async with serve(store.address) as client:
        assert (await client.get(f"/v1/models/{model}/predictions/shop/7")).json()["entity_id"] == "shop/7"


async def test_an_entity_without_a_prediction_or_with_a_tombstone_is_answered_with_404(store, serve):
    model = store.model()
    first = store.refresh(model, {"stays": b"1", "leaves": b"2"})
    second = store.refresh(model, {"leaves": None})
    entity_type = store.registry.get(model).entity_type
    async with serve(store.address) as client:
        for entity_id in ("leaves", "never"):
            response = await client.lookup(model, entity_id)
            assert response.status_code == 404
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["type"] == "/problems/no-prediction"
            assert response.json()["model"] == model
            entity = await client.get(f"/v1/entities/{entity_type}/{entity_id}/predictions")
            assert entity.status_code == 404
        assert (await client.lookup(model, "leaves", version=first)).json()["prediction"] == 2
        assert (await client.batch(model, ["leaves", "stays"])).json()["predictions"] == {"leaves": None, "stays": 1}
        assert (await client.lookup(model, "stays")).json()["version"] == second


async def test_a_batch_keeps_the_order_and_reads_repeated_ids_once(store, serve):
    model = store.model()
    version = store.refresh(model, {f"e{n}": b"%d" % n for n in range(9)})
    async with serve(store.address) as client:
        response = await client.batch(model, ["e5", "none", "e1", "e5", "e8"])
        read = await client.metric("foreserve_read_keys_sum")
    assert response.json()["version"] == version
    assert list(response.json()["predictions"].items()) == [("e5", 5), ("none", None), ("e1", 1), ("e8", 8)]
    assert read == 4


async def test_a_batch_that_is_larger_than_a_read_takes_several(store, serve):
    model = store.model()
    store.refresh(model, {f"e{n}": b"%d" % n for n in range(50)})
    async with serve(store.address, max_keys_per_read=7) as client:
        response = await client.batch(model, [f"e{n}" for n in range(50)])
        assert response.json()["predictions"] == {f"e{n}": n for n in range(50)}
        assert await client.metric("foreserve_read_keys_count") == 8


async def test_the_predictions_of_all_models_of_an_entity_take_one_read(store, serve):
    one, two, hashed = store.model("thing"), store.model("thing"), store.model("thing", row_keys="hashed")
    silent, unpromoted = store.model("thing"), store.model("thing")
    versions = {one: store.refresh(one, {"a": b"1"}), two: store.refresh(two, {"a": b"2", "b": b"3"})}
    versions[hashed] = store.refresh(hashed, {"a": b"4"})
    store.refresh(silent, {"b": b"5"})
    store.export(unpromoted, {"a": b"6"})
    async with serve(store.address) as client:
        response = await client.get("/v1/entities/thing/a/predictions")
        reads = await client.metric("foreserve_read_keys_count")
    answer = response.json()
    assert (answer["entity_type"], answer["entity_id"]) == ("thing", "a")
    assert {m: (p["version"], p["prediction"]) for m, p in answer["predictions"].items()} == {
        one: (versions[one], 1),
        two: (versions[two], 2),
        hashed: (versions[hashed], 4),
    }
    assert reads == 1


async def test_an_exported_version_can_be_previewed_but_is_not_active(store, serve):
    model = store.model()
    active = store.refresh(model, {"a": b"1", "b": b"1"})
    candidate = store.export(model, {"a": b"2"})
    async with serve(store.address) as client:
        assert (await client.lookup(model, "a")).json()["version"] == active
        preview = (await client.lookup(model, "a", version=candidate)).json()
        assert (preview["version"], preview["prediction"]) == (candidate, 2)
        assert (await client.lookup(model, "b", version=candidate)).json()["prediction"] == 1
        batch = (await client.batch(model, ["a", "b"], version=candidate)).json()
        assert (batch["version"], batch["predictions"]) == (candidate, {"a": 2, "b": 1})


async def test_a_version_that_cannot_be_read_is_answered_with_its_status(store, serve):
    model = store.model(keep_versions=1)
    expired = store.refresh(model, {"a": b"1"})
    active = store.refresh(model, {"a": b"2"})
    store.refresh(model, {"a": b"3"})
    opened = store.registry.update(model, lambda s: s.open(0)).latest
    async with serve(store.address) as client:
        for version, status in ((expired, "is expired"), (opened, "is open"), (12345, "is not known")):
            response = await client.lookup(model, "a", version=version)
            assert (response.status_code, response.json()["title"]) == (404, "Unknown version")
            assert f"Version {version} of {model} {status}" in response.json()["detail"]
            assert str(active) in response.json()["detail"]
            assert (await client.batch(model, ["a"], version=version)).status_code == 404


async def test_unknown_models_and_models_without_an_active_version_are_answered_with_404(store, serve):
    model = store.model()
    async with serve(store.address) as client:
        response = await client.lookup(model, "a")
        assert (response.status_code, response.json()["title"]) == (404, "No active version")
        for response in (
            await client.lookup("nobody", "a"),
            await client.batch("nobody", ["a"]),
            await client.get("/v1/models/nobody"),
        ):
            assert (response.status_code, response.json()["title"]) == (404, "Unknown model")
            assert response.json()["model"] == "nobody"
            assert model in response.json()["detail"]
        response = await client.get("/v1/entities/nothing/a/predictions")
        assert (response.status_code, response.json()["title"]) == (404, "Unknown entity type")


async def test_invalid_ids_are_named(wire, serve):
    longest = "é" * (MAX_ENTITY_ID_BYTES // 2) + "e"
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.lookup("m", longest)).json()["entity_id"] == longest
        for entity_id, bytes_in_it in (("", 0), (longest + "e", MAX_ENTITY_ID_BYTES + 1)):
            for response, field in (
                (await client.lookup("m", entity_id), "entity_id"),
                (await client.batch("m", ["fine", entity_id]), "entity_ids[1]"),
                (await client.get(f"/v1/entities/things/{entity_id}/predictions"), "entity_id"),
            ):
                assert response.status_code == 422
                assert response.headers["content-type"] == "application/problem+json"
                (error,) = response.json()["errors"]
                assert error["field"] == field
                assert f"this one has {bytes_in_it}" in error["message"]
        for no_text in ("caf%E9", "%FF", "%ED%A0%80", "%C0%80"):
            response = await client.get(f"/v1/models/m/predictions/{no_text}")
            assert response.status_code == 422
            assert response.json()["errors"][0]["message"].startswith("its percent-encoding is not UTF-8")
    assert wire.reads == [[longest.encode()]]


async def test_invalid_bodies_are_named(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", max_batch=3) as client:
        for body, field, message in (
            (b'{"entity_ids":[]}', "entity_ids", "empty; give at least one"),
            (b'{"entity_ids":["a","b","c","d"]}', "entity_ids", "4 ids; send at most 3"),
            (b'{"entity_ids":["a",7]}', "entity_ids[1]", "valid string, not 7"),
            (b'{"entity_ids":"a"}', "entity_ids", "valid list"),
            (b'{"entity_ids":["\\ud800"]}', "entity_ids[0]", "surrogates not allowed"),
            (b'{"ids":["a"]}', "entity_ids", "missing"),
            (b'{"entity_ids":["a"],"verison":1}', "verison", "not permitted"),
            (b'{"entity_ids":["a"],"version":"new"}', "version", "valid integer"),
            (b'{"entity_ids":["a"', "body", "not JSON"),
            (b"", "body", "missing"),
        ):
            headers = {"content-type": "application/json"}
            response = await client.post("/v1/models/m/predictions:batchGet", content=body, headers=headers)
            assert response.headers["content-type"] == "application/problem+json"
            assert response.status_code == 422
            error = response.json()["errors"][0]
            assert (error["field"], message in error["message"]) == (field, True), error
        response = await client.post("/v1/models/m/predictions:batchGet", content=b"\xff", headers=headers)
        assert (response.status_code, response.json()["title"]) == (400, "Bad Request")
        assert response.json() == unreadable_body("POST", "/v1/models/m/predictions:batchGet").document()
    assert wire.reads == []


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded", "text/plain"])
async def test_a_body_that_is_not_declared_as_json_is_answered_with_what_to_send(wire, serve, content_type):
    headers = {} if content_type is None else {"content-type": content_type}
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        answer = await client.post(
            "/v1/models/m/predictions:batchGet", content=b'{"entity_ids":["a"]}', headers=headers
        )
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (422, "Content-Type")
    assert "send the body as JSON, with Content-Type: application/json" in error["message"]
    assert (content_type or "missing") in error["message"]


async def test_invalid_queries_are_named(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for query, field in (
            ("version=new", "version"),
            ("version=", "version"),
            ("verison=1", "verison"),
            ("version=" + "9" * 5000, "version"),
        ):
            response = await client.get(f"/v1/models/m/predictions/a?{query}")
            assert (response.status_code, response.json()["errors"][0]["field"]) == (422, field)


async def test_a_body_that_is_too_long_is_refused(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        headers = {"content-type": "application/json"}
        response = await client.post("/v1/models/m/predictions:batchGet", content=b" " * (9 << 20), headers=headers)
    assert (response.status_code, response.json()["status"]) == (413, 413)
    assert "send smaller batches" in response.json()["detail"]


async def test_a_body_that_is_too_late_is_refused(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", body_seconds=0.1) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        head = b"POST /v1/models/m/predictions:batchGet HTTP/1.1\r\nHost: s\r\nContent-Type: application/json\r\n"
        writer.write(head + b'Content-Length: 20\r\n\r\n{"entity_ids"')
        # The service closes the connection after the answer.
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout")
    assert b"application/problem+json" in answer
    assert b"send it faster, or smaller batches" in answer


async def test_unknown_routes_and_methods_are_answered_with_problems(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for response, status in (
            (await client.get("/v2/models"), 404),
            (await client.get("/v1/models/"), 404),
            (await client.get("/v1/models/m/versions/1/predictions/a"), 404),
            (await client.post("/v1/models/m/predictions/a"), 405),
            (await client.delete("/v1/models/m"), 405),
        ):
            assert response.status_code == status
            assert response.headers["content-type"] == "application/problem+json"
            assert response.json()["status"] == status
            assert response.request.url.path in response.json()["detail"]
            assert status == 404 or response.headers["allow"] == "GET, HEAD"
    assert wire.reads == []


async def test_a_route_below_a_lookup_is_refused_because_it_would_never_be_called():
    path = "/v1/models/{model}/predictions/{entity_id}/history"
    with pytest.raises(ValueError, match="is never called"):
        refuse_shadowed([Route("/v1/models", print), Route(path, print)])


async def test_the_models_have_their_versions(store, serve):
    model = store.model()
    first = store.refresh(model, {"a": b"1", "b": b"1"})
    second = store.refresh(model, {"a": b"2", "b": None})
    store.registry.update(model, lambda s: s.note(second, metrics={"roc_auc": 0.8}))
    empty = store.model()
    async with serve(store.address) as client:
        answer = (await client.get(f"/v1/models/{model}")).json()
        models = (await client.get("/v1/models")).json()["models"]
        assert (await client.get(f"/v1/models/{empty}")).json()["active_version"] is None
    assert answer["age_seconds"] >= 0
    assert (answer["model"], answer["active_version"]) == (model, second)
    assert [(v["version"], v["status"]) for v in answer["versions"]] == [(second, "promoted"), (first, "promoted")]
    assert answer["versions"][0]["receipt"] == {"predictions": 1, "tombstones": 1}
    assert answer["versions"][0]["details"] == {"metrics": {"roc_auc": 0.8}}
    assert (answer["rollback_targets"], answer["forward_targets"]) == ([first], [])
    assert {model, empty} <= {m["model"] for m in models}
    assert [m["model"] for m in models] == sorted(m["model"] for m in models)


async def test_every_answer_is_of_one_version_while_versions_change(store, serve):
    ids = [f"e{n}" for n in range(40)]
    model = store.model()
    contents = {}

    def refresh(number):
        """Promote a version in which half of the predictions change, and one disappears or returns."""
        last = contents[max(contents)] if contents else dict.fromkeys(ids)
        changed = {i: b"%d" % number for n, i in enumerate(ids) if not contents or n % 2 == number % 2}
        changed[ids[0]] = None if number % 2 else b"%d" % number
        version = store.export(model, changed)
        contents[version] = {**last, **{i: p and json.loads(p) for i, p in changed.items()}}
        store.promote(model, version, changed)

    refresh(0)
    seen = []
    async with serve(store.address, registry_poll_seconds=0.01, max_keys_per_read=9) as client:

        async def ask():
            while not done.is_set():
                answer = (await client.batch(model, ids)).json()
                assert answer["predictions"] == contents[answer["version"]]
                seen.append(answer["version"])

        async def current_seen():
            return store.registry.get(model).active in seen

        done = asyncio.Event()
        asking = [asyncio.create_task(ask()) for _ in range(4)]
        for number in range(1, 6):
            await asyncio.to_thread(refresh, number)
            await eventually(current_seen)
        assert set(seen) == set(contents)
        before = sorted(contents)[-2]
        await asyncio.to_thread(
            store.registry.update, model, lambda state: state.roll_back(before, reason="a test", now=1)
        )
        seen.clear()
        await eventually(current_seen)
        done.set()
        await asyncio.gather(*asking)
