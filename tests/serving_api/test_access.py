"""Access to the service: with API keys, with signed tokens, and without either."""

import asyncio
import hmac
import json
import time
from base64 import urlsafe_b64encode
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from serving_api.access.api_keys import new_key
from tests.http_server import http_server
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

VERSION = 1_750_000_000_123
ISSUER, AUDIENCE = "https://issuer.test", "https://foreserve.test"
LOOKUP = "/v1/models/m/predictions/a"
READERS = ("/v1/models", "/v1/models/m", LOOKUP, "/v1/entities/things/a/predictions", "/metrics", "/nowhere")


def caller(name, *keys, **rights):
    entries = [{"id": key.id, "sha256": key.sha256, **expiry} for key, expiry in keys]
    return {"name": name, "keys": entries, "models": "all", **rights}


@pytest.fixture
def callers(tmp_path):
    """Writes the callers file, and returns the settings for it: `callers(caller(...), ...)`."""
    path = tmp_path / "callers.json"

    def write(*entries):
        path.with_suffix(".new").write_text(json.dumps({"callers": entries}))
        path.with_suffix(".new").rename(path)
        return {"auth": "api_keys", "callers_file": path, "callers_seconds": 0.02}

    return write


def bearer(key):
    return {"Authorization": b"Bearer " + (key.encode() if isinstance(key, str) else key)}


def assert_problem(response, status, title):
    assert (response.status_code, response.json()["title"]) == (status, title), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status


async def test_only_open_paths_are_answered_without_a_key(wire, serve, callers):
    settings = callers(caller("shop", (new_key(), {})))
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
        for path in READERS:
            response = await client.get(path)
            assert_problem(response, 401, "Unauthorized")
            assert response.headers["www-authenticate"] == 'Bearer realm="foreserve"'
        assert_problem(await client.batch("m", ["a"]), 401, "Unauthorized")
        for path in ("/", "/healthz", "/readyz", "/docs", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
        ready = (await client.get("/readyz")).json()
    assert (ready["status"], ready["models"], ready["broken"]) == ("ready", None, None)
    assert wire.reads == []


async def test_a_body_is_not_read_before_the_key(wire, serve, callers):
    async with (
        wire.listening() as port,
        serve(f"127.0.0.1:{port}", **callers(caller("shop", (new_key(), {})))) as client,
    ):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /v1/models/m/predictions:batchGet HTTP/1.1\r\nHost: s\r\nContent-Length: 9\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")
        writer.close()


async def test_valid_keys_are_accepted_and_invalid_or_expired_ones_refused(wire, serve, callers):
    now = datetime.now(UTC)
    good, other, expired = new_key(), new_key(), new_key()
    settings = callers(
        caller(
            "shop",
            (good, {"expires": (now + timedelta(hours=1)).isoformat()}),
            (other, {}),
            (expired, {"expires": (now - timedelta(seconds=1)).isoformat()}),
            metrics=True,
        )
    )
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
        for headers in (bearer(good.key), {"authorization": f"bearer {other.key}"}, {"x-api-key": good.key}):
            for path in READERS[:-1]:
                assert (await client.get(path, headers=headers)).status_code == 200
        wrong = (good.id, good.id + "_wrong", good.sha256, expired.key, "x", other.key + "x", "é")
        for key in wrong:
            for headers in ({"Authorization": f"Bearer {key}".encode()}, {"X-API-Key": key.encode()}):
                response = await client.get(LOOKUP, headers=headers)
                assert_problem(response, 401, "Unauthorized")
                assert 'error="invalid_token"' in response.headers["www-authenticate"]
                assert good.id not in response.text
        client.headers = bearer(good.key)
        refused = await client.metric("foreserve_admissions_total", caller="", outcome="unauthorized")
        admitted = await client.metric("foreserve_admissions_total", caller="shop", outcome="admitted")
        assert good.id not in (await client.get("/metrics")).text
    assert (refused, admitted) == (2 * len(wrong), 3 * len(READERS[:-1]) + 2)


async def test_a_caller_reads_its_models_and_learns_of_no_others(store, serve, callers):
    mine, other = store.model("pair"), store.model("pair")
    secret = store.model("secret_things")
    store.refresh(mine, {"a": b"1"})
    store.refresh(other, {"a": b"2"})
    store.refresh(secret, {"a": b"3"})
    key = new_key()
    async with serve(store.address, **callers(caller("shop", (key, {}), models=[mine, "gone"]))) as client:
        client.headers = bearer(key.key)
        assert (await client.lookup(mine, "a")).json()["prediction"] == 1
        assert (await client.batch(mine, ["a"])).json()["predictions"] == {"a": 1}
        for name in (other, "nobody"):
            for response in (
                await client.lookup(name, "a"),
                await client.batch(name, ["a"]),
                await client.get(f"/v1/models/{name}"),
            ):
                assert_problem(response, 403, "Forbidden")
                assert f"shop may not read the model '{name}'" in response.json()["detail"]
        assert [model["model"] for model in (await client.get("/v1/models")).json()["models"]] == [mine]
        assert list((await client.get("/v1/entities/pair/a/predictions")).json()["predictions"]) == [mine]
        unknown = [await client.lookup("gone", "a"), await client.get("/v1/entities/secret_things/a/predictions")]
        for response in unknown:
            assert response.status_code == 404
            assert other not in response.text
        assert "entity types with models: pair." in unknown[1].json()["detail"]
        assert_problem(await client.get("/metrics"), 403, "Forbidden")


async def test_only_some_may_preview(store, serve, callers):
    model = store.model()
    active = store.refresh(model, {"a": b"1"})
    candidate = store.export(model, {"a": b"2"})
    reader, smoke_test = new_key(), new_key()
    settings = callers(caller("shop", (reader, {})), caller("smoke", (smoke_test, {}), preview=True))
    async with serve(store.address, **settings) as client:
        client.headers = bearer(reader.key)
        assert (await client.lookup(model, "a", version=active)).json()["prediction"] == 1
        for version in (candidate, 12345):
            assert_problem(await client.lookup(model, "a", version=version), 403, "Forbidden")
            assert_problem(await client.batch(model, ["a"], version=version), 403, "Forbidden")
        client.headers = bearer(smoke_test.key)
        assert (await client.lookup(model, "a", version=candidate)).json()["prediction"] == 2
        assert (await client.batch(model, ["a"], version=candidate)).json()["predictions"] == {"a": 2}


async def test_a_caller_that_asks_too_often_is_told_when_to_come_back(wire, serve, callers):
    often, seldom = new_key(), new_key()
    settings = callers(
        caller("often", (often, {}), metrics=True), caller("seldom", (seldom, {}), requests_per_second=0.001)
    )
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
        assert (await client.get(LOOKUP, headers=bearer(seldom.key))).status_code == 200
        for path in (LOOKUP, "/v1/models"):
            response = await client.get(path, headers=bearer(seldom.key))
            assert_problem(response, 429, "Too many requests")
            assert 900 < int(response.headers["retry-after"]) <= 1000
        client.headers = bearer(often.key)
        assert (await client.get(LOOKUP)).status_code == 200
        assert await client.metric("foreserve_admissions_total", caller="seldom", outcome="limited") == 2


async def test_keys_change_while_the_service_runs(wire, serve, callers, capsys):
    old, new, watcher = new_key(), new_key(), new_key()
    watch = caller("watcher", (watcher, {}), metrics=True)
    settings = callers(caller("shop", (old, {}), requests_per_second=0.001), watch)
    path = settings["callers_file"]

    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
        client.headers = bearer(watcher.key)

        async def becomes(key, status):
            async def has():
                return (await client.get(LOOKUP, headers=bearer(key))).status_code == status

            await eventually(has)

        assert (await client.get(LOOKUP, headers=bearer(old.key))).status_code == 200
        callers(caller("shop", (old, {}), (new, {}), requests_per_second=0.001), watch)
        # Both keys belong to one caller, which has used its only request.
        await becomes(new.key, 429)
        callers(caller("shop", (new, {})), watch)
        await becomes(old.key, 401)
        await becomes(new.key, 200)
        for broken in ("{", '{"callers": [{"name": "kept-quiet", "keys": "s3cret"}]}', None):
            path.unlink() if broken is None else path.write_text(broken)
            await client.until_metric("foreserve_callers_file_broken", 1)
            await becomes(new.key, 200)
            await becomes(old.key, 401)
            callers(watch)
            await client.until_metric("foreserve_callers_file_broken", 0)
            await becomes(new.key, 401)
            callers(caller("shop", (new, {})), watch)
            await becomes(new.key, 200)
    logs = capsys.readouterr().out
    assert "callers.0.keys: Input should be a valid array" in logs
    for unsaid in ("s3cret", new.key, new.sha256):
        assert unsaid not in logs


async def test_metrics_can_be_open(wire, serve, callers):
    settings = {**callers(caller("shop", (new_key(), {}))), "metrics_open": True}
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
        assert await client.metric("foreserve_active_version", model="m") == VERSION
        assert_problem(await client.get(LOOKUP), 401, "Unauthorized")


class Issuer:
    """Signs tokens, and publishes its keys over HTTP."""

    def __init__(self):
        self.keys = {}
        self.requests = 0
        self.down = False
        self.rotate("rsa-1", "RS256")

    def rotate(self, key_id, algorithm):
        """Replace the key by a new one."""
        private = (
            rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
        )
        self.keys = {key_id: (private, algorithm)}

    def document(self):
        keys = []
        for key_id, (private, algorithm) in self.keys.items():
            jwk = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
            keys.append({**jwk, "kid": key_id, "alg": algorithm, "use": "sig"})
        return json.dumps({"keys": [{"kty": "unheard-of"}, *keys]}).encode()

    def token(self, *, without=(), **claims):
        ((key_id, (private, algorithm)),) = self.keys.items()
        return jwt.encode(self.claims(without, claims), private, algorithm, {"kid": key_id})

    def claims(self, without, claims):
        now = int(time.time())
        known = {"iss": ISSUER, "aud": AUDIENCE, "iat": now, "exp": now + 600, "email": "shop@example.test", **claims}
        return {name: value for name, value in known.items() if name not in without}

    def answer(self, _):
        self.requests += 1
        return (503, b"", {}) if self.down else self.document()

    @contextmanager
    def listening(self):
        with http_server(self.answer) as url:
            yield f"{url}/keys"


@pytest.fixture
def issuer():
    return Issuer()


def tokens(callers_settings, url, **settings):
    return {
        **callers_settings,
        "auth": "jwt",
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "jwt_keys_url": url,
        **settings,
    }


SHOP = {"name": "shop", "models": ["m"], "tokens": [{"email": "shop@example.test"}]}


def base64url(value):
    return urlsafe_b64encode(value).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_valid_tokens_are_accepted_and_others_refused(wire, serve, callers, issuer, algorithm):
    issuer.rotate("one", algorithm)
    now = int(time.time())
    private = issuer.keys["one"][0]
    public = issuer.document()
    _, claimed, _ = issuer.token().split(".")
    signed = base64url(json.dumps({"alg": "HS256", "kid": "one"}).encode()) + f".{claimed}"
    signed_with_what_everybody_knows = f"{signed}.{base64url(hmac.digest(public, signed.encode(), 'sha256'))}"
    impostor = Issuer()
    impostor.rotate("one", algorithm)
    with issuer.listening() as url:
        settings = tokens(callers(SHOP, {"name": "team", "models": "all", "tokens": [{"groups": "ds"}]}), url)
        async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
            token = issuer.token()
            for _ in range(3):
                assert (await client.get(LOOKUP, headers=bearer(token))).status_code == 200
            listed = issuer.token(email="x", groups=["other", "ds"], aud=["elsewhere", AUDIENCE])
            assert (await client.get("/v1/models", headers=bearer(listed))).status_code == 200
            assert_problem(await client.get("/v1/models/n", headers=bearer(token)), 403, "Forbidden")
            stranger = await client.get(LOOKUP, headers=bearer(issuer.token(email="x@example.test")))
            assert_problem(stranger, 403, "Forbidden")
            head, body, signature = token.split(".")
            _, other_body, _ = issuer.token(email="y").split(".")
            for bad in (
                issuer.token(aud="https://elsewhere.test"),
                issuer.token(iss="https://issuer.test.evil.test"),
                issuer.token(exp=now - 60),
                issuer.token(nbf=now + 600),
                issuer.token(iat=now + 600),
                *(issuer.token(without=[claim]) for claim in ("exp", "iat", "iss", "aud")),
                impostor.token(),
                jwt.encode(issuer.claims((), {}), private, algorithm),
                jwt.encode(issuer.claims((), {}), None, "none", {"kid": "one"}),
                signed_with_what_everybody_knows,
                f"{head}.{other_body}.{signature}",
                f"{head}.{body}.",
                f"{head}.{body}.{signature[:-8]}AAAAAAAA",
                "a.b.c",
                base64url(b"[" * 20_000) + ".e30.",
                base64url(b'{"alg":["RS256"],"kid":{}}') + ".e30.AAAA",
                "é.é.é".encode(),
                "..",
                "x",
            ):
                response = await client.get(LOOKUP, headers=bearer(bad))
                assert_problem(response, 401, "Unauthorized")
                assert 'error="invalid_token"' in response.headers["www-authenticate"]
            assert_problem(await client.get(LOOKUP, headers={"x-api-key": token}), 401, "Unauthorized")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_token_with_any_other_character_is_refused(wire, serve, callers, issuer, algorithm):
    issuer.rotate("one", algorithm)
    with issuer.listening() as url:
        async with wire.listening() as port, serve(f"127.0.0.1:{port}", **tokens(callers(SHOP), url)) as client:
            token = issuer.token()
            # The last character also has bits that mean nothing.
            for place in range(0, len(token) - 1, 3):
                other = "." if token[place] != "." else "A"
                for character in (other, "B" if token[place] != "B" else "C", ""):
                    tampered = token[:place] + character + token[place + 1 :]
                    assert (await client.get(LOOKUP, headers=bearer(tampered))).status_code == 401, tampered
            assert (await client.get(LOOKUP, headers=bearer(token))).status_code == 200


async def test_new_keys_of_the_issuer_are_accepted_and_old_ones_refused(wire, serve, callers, issuer):
    with issuer.listening() as url:
        settings = tokens(callers(SHOP), url, jwt_keys_seconds=2)
        async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
            old = issuer.token()
            assert (await client.get(LOOKUP, headers=bearer(old))).status_code == 200
            issuer.rotate("rsa-2", "RS256")

            def answered(token, status):
                async def answered_so():
                    return (await client.get(LOOKUP, headers=bearer(token))).status_code == status

                return eventually(answered_so)

            await answered(issuer.token(), 200)
            await answered(old, 401)
            issuer.down = True
            assert (await client.get(LOOKUP, headers=bearer(issuer.token()))).status_code == 200


async def test_tokens_with_unknown_keys_do_not_cause_a_read_of_the_keys_each(wire, serve, callers, issuer):
    with issuer.listening() as url:
        settings = tokens(callers(SHOP), url, jwt_keys_seconds=3600)
        async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
            issuer.rotate("rsa-2", "RS256")
            answers = [client.get(LOOKUP, headers=bearer(issuer.token())) for _ in range(20)]
            assert {answer.status_code for answer in await asyncio.gather(*answers)} == {401}
    assert issuer.requests == 1


async def test_requests_are_refused_with_503_until_the_issuer_can_be_read(wire, serve, callers, issuer):
    issuer.down = True
    with issuer.listening() as url:
        settings = tokens(callers(SHOP), url, jwt_keys_seconds=0.1, metrics_open=True)
        async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
            headers = bearer(issuer.token())
            response = await client.get(LOOKUP, headers=headers)
            assert_problem(response, 503, "Issuer unavailable")
            assert response.headers["retry-after"] == "1"
            assert await client.metric("foreserve_issuer_failures_total") > 0
            issuer.down = False

            async def answers():
                return (await client.get(LOOKUP, headers=headers)).status_code == 200

            await eventually(answers)


async def test_a_known_token_is_refused_after_its_caller_was_removed(wire, serve, callers, issuer):
    with issuer.listening() as url:
        async with wire.listening() as port, serve(f"127.0.0.1:{port}", **tokens(callers(SHOP), url)) as client:
            headers = bearer(issuer.token())
            assert (await client.get(LOOKUP, headers=headers)).status_code == 200
            callers()

            async def refused():
                return (await client.get(LOOKUP, headers=headers)).status_code == 403

            await eventually(refused)


async def test_api_keys_are_accepted_beside_tokens_in_the_header_of_iap(wire, serve, callers, issuer):
    key = new_key()
    with issuer.listening() as url:
        settings = tokens(callers(SHOP, caller("other", (key, {}))), url, jwt_header="X-Goog-IAP-JWT-Assertion")
        settings["auth"] = "api_keys_or_jwt"
        async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
            for headers in ({"X-Goog-IAP-JWT-Assertion": issuer.token()}, bearer(key.key), {"X-API-Key": key.key}):
                assert (await client.get(LOOKUP, headers=headers)).status_code == 200
            both = {"X-Goog-IAP-JWT-Assertion": issuer.token(), "Authorization": "Bearer of-iap-itself"}
            assert (await client.get(LOOKUP, headers=both)).status_code == 200


async def test_api_keys_are_refused_where_only_tokens_are_accepted(wire, serve, callers, issuer):
    key = new_key()
    with issuer.listening() as url:
        settings = tokens(callers(SHOP, caller("other", (key, {}))), url)
        async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
            assert (await client.get(LOOKUP, headers=bearer(issuer.token()))).status_code == 200
            assert_problem(await client.get(LOOKUP, headers=bearer(key.key)), 401, "Unauthorized")
