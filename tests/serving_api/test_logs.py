"""The log of the command."""

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager

import grpc
import pytest

from tests.servers import service_environment
from tests.waiting import eventually

LOOKUP = "/v1/models/{model}/predictions/{entity_id}"
ENTITY = "/v1/entities/{entity_type}/{entity_id:entity_id}/predictions"
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
REQUEST = {"X-Request-Id": "r1", "traceparent": f"00-{TRACE}-{SPAN}-01", "authorization": "Bearer a-key"}

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]


def log_lines(log):
    return [json.loads(line) for line in log.read_text().splitlines()]


def failures(lines):
    return [line for line in lines if line["message"] == "a request failed"]


@pytest.fixture
def logging_service(wire, run_service, tmp_path):
    """Runs the service on `wire`. Yields a client and a list, which has the log lines after the service has stopped."""

    @asynccontextmanager
    async def running(**variables):
        log, lines = tmp_path / "log", []
        async with (
            wire.listening() as port,
            run_service(log=log, bigtable_port=port, SERVING_DEADLINE_SECONDS=5, **variables) as (_, client),
        ):
            yield client, lines
        lines += log_lines(log)

    return running


async def test_the_first_lines_have_the_address_and_the_settings(logging_service):
    async with logging_service(SERVING_BUILD="b7") as (_, lines):
        pass
    listening, settings = lines[:2]
    assert listening["url"].startswith("http://127.0.0.1:")
    assert {"message": "settings", "workers": 1, "build": "b7", "project": "test-project"}.items() <= settings.items()
    assert settings["deadline_seconds"] == 5
    assert all({"message", "severity", "timestamp"} <= line.keys() for line in lines)


async def test_a_failed_request_is_a_line_with_its_id_and_trace_but_no_entity_or_key(wire, logging_service):
    wire.failing[b"secret"] = grpc.StatusCode.INTERNAL
    async with logging_service() as (client, lines):
        for path in ("/v1/models/m/predictions/secret", "/v1/entities/things/secret/predictions"):
            assert (await client.get(path, headers=REQUEST)).status_code == 503
        assert (await client.get("/v1/models/m/predictions/absent-secret")).status_code == 404
        assert (await client.get("/secret")).status_code == 404
    for failure, route in zip(failures(lines), (LOOKUP, ENTITY), strict=True):
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


async def test_a_line_names_the_span_that_the_service_made_if_it_makes_any(wire, logging_service):
    wire.failing[b"a"] = grpc.StatusCode.INTERNAL
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    async with logging_service(**endpoint) as (client, lines):
        for path in ("/v1/models/m/predictions/a", "/v1/entities/things/a/predictions"):
            assert (await client.get(path, headers=REQUEST)).status_code == 503
    assert {f["logging.googleapis.com/trace"] for f in failures(lines)} == {f"projects/test-project/traces/{TRACE}"}
    assert len({f["logging.googleapis.com/spanId"] for f in failures(lines)} - {SPAN}) == 2


async def test_errors_of_clients_are_logged_at_debug(logging_service):
    async with logging_service(SERVING_LOG_LEVEL="debug") as (client, lines):
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


async def test_a_flood_of_failures_is_a_few_lines(wire, logging_service, tmp_path):
    wire.failing[b"a"] = grpc.StatusCode.INTERNAL
    requests = 0
    async with logging_service() as (client, lines):
        for _ in range(10):
            answers = await asyncio.gather(*(client.get("/v1/models/m/predictions/a") for _ in range(50)))
            requests += len(answers)
            assert {answer.status_code for answer in answers} == {503}

        async def the_lines_account_for_all_requests():
            nonlocal requests
            await client.get("/v1/models/m/predictions/a")
            requests += 1
            written = failures(log_lines(tmp_path / "log"))
            return len(written) + sum(line.get("left_out", 0) for line in written) == requests

        await eventually(the_lines_account_for_all_requests)
    assert 100 <= len(failures(lines)) < 500


async def test_a_bug_is_a_line_with_its_traceback_and_the_id_of_the_request():
    # The lifespan of this application does not run, so it has no service.
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
        subprocess.run, command, env=service_environment(), capture_output=True, text=True, timeout=60, check=True
    )
    (failure,) = [line for line in map(json.loads, result.stderr.splitlines()) if "request_id" in line]
    assert (failure["message"], failure["severity"], failure["request_id"]) == ("a request failed", "ERROR", "r1")
    assert failure["problem"] == "Internal error"
    assert "Traceback" in failure["exception"]
