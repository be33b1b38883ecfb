"""What the command writes to its log."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest

LOOKUP = "/v1/models/{model}/predictions/{entity_id}"
ENTITY = "/v1/entities/{entity_type}/{entity_id:entity_id}/predictions"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REQUEST = {"X-Request-Id": "r1", "traceparent": f"00-{TRACE}-{SPAN}-01", "authorization": "Bearer a-key"}
SETTINGS = {"SERVING_PROJECT": "test-project", "SERVING_INSTANCE": "test-instance", "SERVING_DEADLINE_SECONDS": "5"}

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


def environment(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SERVING_", "OTEL_"))}
    return {**kept, **SETTINGS, **variables}


@asynccontextmanager
async def logging_service(port, **variables):
    """The service in a process; yields a client and a list, which has the lines of its log once it has stopped."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "serving_api", "--port", "0"),
        env=environment(BIGTABLE_EMULATOR_HOST=f"127.0.0.1:{port}", **variables),
        stderr=asyncio.subprocess.PIPE,
    )
    lines = []
    try:
        while not lines or not lines[-1]["message"].startswith("Started worker"):
            lines.append(json.loads(await process.stderr.readline()))
        async with httpx.AsyncClient(base_url=lines[0]["url"], timeout=20) as client:
            yield client, lines
    finally:
        process.terminate()
        _, rest = await process.communicate()
    lines.extend(json.loads(line) for line in rest.splitlines())


async def test_it_starts_with_its_settings(wire):
    async with wire.listening() as port, logging_service(port, SERVING_BUILD="b7") as (_, lines):
        pass
    listening, settings = lines[:2]
    assert listening["url"].startswith("http://127.0.0.1:")
    assert {"message": "settings", "workers": 1, "build": "b7", "project": "test-project"}.items() <= settings.items()
    assert settings["deadline_seconds"] == 5
    assert all({"message", "severity", "timestamp"} <= line.keys() for line in lines)


async def test_a_failed_request_is_a_line_with_its_id_and_trace_but_no_entity_or_key(wire):
    wire.failing[b"secret"] = grpc.StatusCode.INTERNAL
    async with wire.listening() as port, logging_service(port) as (client, lines):
        for path in ("/v1/models/m/predictions/secret", "/v1/entities/things/secret/predictions"):
            assert (await client.get(path, headers=REQUEST)).status_code == 503
        assert (await client.get("/v1/models/m/predictions/absent-secret")).status_code == 404
        assert (await client.get("/secret")).status_code == 404
    failures = [line for line in lines if line["message"] == "a request failed"]
    for failure, route in zip(failures, (LOOKUP, ENTITY), strict=True):
        assert failure.pop("seconds") > 0
        assert failure.pop("timestamp")
        assert failure == {
            "message": "a request failed",
            "logger": "serving_api.telemetry.failure_log",
            "severity": "WARNING",
            "request_id": "r1",
            "logging.googleapis.com/trace": f"projects/test-project/traces/{TRACE}",
            "logging.googleapis.com/spanId": SPAN,
            "logging.googleapis.com/trace_sampled": True,
            "method": "GET",
            "route": route,
            "status": 503,
            "problem": "Store unavailable",
        }
    assert "secret" not in str(lines)
    assert "a-key" not in str(lines)


async def test_a_line_names_the_span_that_the_service_made_if_it_makes_any(wire):
    wire.failing[b"a"] = grpc.StatusCode.INTERNAL
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    async with wire.listening() as port, logging_service(port, **endpoint) as (client, lines):
        for path in ("/v1/models/m/predictions/a", "/v1/entities/things/a/predictions"):
            assert (await client.get(path, headers=REQUEST)).status_code == 503
    failures = [line for line in lines if line["message"] == "a request failed"]
    assert {f["logging.googleapis.com/trace"] for f in failures} == {f"projects/test-project/traces/{TRACE}"}
    assert len({f["logging.googleapis.com/spanId"] for f in failures} - {SPAN}) == 2


async def test_what_clients_get_wrong_is_logged_at_debug(wire):
    async with wire.listening() as port, logging_service(port, SERVING_LOG_LEVEL="debug") as (client, lines):
        await client.get("/v1/models/m/predictions/absent-secret", headers=REQUEST)
        await client.post("/v1/models/none/predictions:batchGet", json={"entity_ids": ["secret"]})
        await client.post("/v1/models/m/predictions:batchGet", json={"entity_ids": []})
        await client.get("/secret")
    seen = [(line["severity"], line["route"], line["problem"]) for line in lines if "route" in line]
    batch = "/v1/models/{model}/predictions:batchGet"
    assert seen == [
        ("DEBUG", LOOKUP, "No prediction"),
        ("DEBUG", batch, "Unknown model"),
        ("DEBUG", batch, "Invalid request"),
        ("DEBUG", "none", "Not Found"),
    ]
    assert "secret" not in str(lines)


async def test_a_flood_of_failures_is_a_few_lines(wire):
    wire.failing[b"a"] = grpc.StatusCode.INTERNAL
    async with wire.listening() as port, logging_service(port) as (client, lines):
        for _ in range(10):
            answers = await asyncio.gather(*(client.get("/v1/models/m/predictions/a") for _ in range(50)))
            assert {answer.status_code for answer in answers} == {503}
        await asyncio.sleep(0.5)  # in which a line comes to be allowed
        await client.get("/v1/models/m/predictions/a")
    failures = [line for line in lines if line["message"] == "a request failed"]
    assert 100 <= len(failures) < 500
    assert len(failures) + sum(line.get("left_out", 0) for line in failures) == 501


async def test_a_bug_is_a_line_with_its_traceback_and_the_id_of_the_request():
    # An application whose lifespan never ran has no service.
    script = """
import asyncio, httpx
from serving_api.app import create_app
from serving_api.telemetry.logs import configure_logs
from serving_api.settings import Settings
async def ask():
    configure_logs("warning")
    transport = httpx.ASGITransport(create_app(Settings.from_environment()))
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        response = await client.get("/v1/models", headers={"X-Request-Id": "r1"})
    assert response.status_code == 500 and response.headers["x-request-id"] == "r1"
asyncio.run(ask())
"""
    command = [sys.executable, "-c", script]
    result = await asyncio.to_thread(
        subprocess.run, command, env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    (failure,) = [line for line in map(json.loads, result.stderr.splitlines()) if "request_id" in line]
    assert (failure["message"], failure["severity"], failure["request_id"]) == ("a request failed", "ERROR", "r1")
    assert failure["problem"] == "Internal error"
    assert "Traceback" in failure["exception"]
