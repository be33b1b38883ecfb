"""The command `python -m serving_api`."""

import asyncio
import itertools
import json
import socket
import subprocess
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.servers import SERVICE_COMMAND, accepts, service_environment
from tests.waiting import eventually

pytestmark = pytest.mark.slow


@pytest.mark.asyncio
async def test_sigterm_drains(wire, run_service, tmp_path):
    wire.hold(b"secret-id")
    log = tmp_path / "log"
    async with (
        wire.listening() as port,
        run_service(log=log, bigtable_port=port, SERVING_DEADLINE_SECONDS=20) as (process, client),
    ):
        asking = asyncio.create_task(client.get("/v1/models/m/predictions/secret-id"))
        await wire.saw(1)
        process.terminate()

        await eventually(lambda: not accepts(client.base_url.host, client.base_url.port))
        wire.release(b"secret-id")
        assert (await asking).json()["prediction"] == {"of": "secret-id"}
        assert await asyncio.to_thread(process.wait) == 0
    expected = {"message": "serving", "model": "m", "severity": "INFO"}
    assert any(expected.items() <= line.items() for line in map(json.loads, log.read_text().splitlines()))
    assert "secret-id" not in log.read_text()


@pytest.mark.asyncio
async def test_no_request_is_lost_in_a_rolling_restart(wire, run_service):
    """Two replicas under load are replaced one after the other; clients retry a lost request at the other replica."""
    replicas = {}
    answered = retried = 0
    stop = asyncio.Event()

    async def client(number):
        nonlocal answered, retried
        while not stop.is_set():
            answered += 1
            for attempt in itertools.count():
                replica = replicas[(number + answered + attempt) % 2]
                try:
                    answer = await replica.get(f"/v1/models/m/predictions/{number}")
                except httpx.TransportError:
                    retried += 1
                    await asyncio.sleep(0.01)
                    continue
                assert answer.status_code == 200, answer.text
                assert answer.json()["prediction"] == {"of": f"{number}"}
                break

    async def more_answers():
        before = answered
        await eventually(lambda: answered > before + 50)

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(wire.listening())
        processes = {}

        async def start(n):
            service = run_service(bigtable_port=port, SERVING_DEADLINE_SECONDS=20)
            processes[n], replicas[n] = await stack.enter_async_context(service)

        await start(0)
        await start(1)
        clients = [asyncio.create_task(client(number)) for number in range(8)]
        for n in range(2):
            await more_answers()
            processes[n].terminate()
            assert await asyncio.to_thread(processes[n].wait) == 0
            await start(n)
        await more_answers()
        stop.set()
        await asyncio.gather(*clients)
    assert retried < answered


@pytest.mark.asyncio
async def test_several_workers_share_their_metrics(wire, run_service, tmp_path):
    log = tmp_path / "log"
    # A new connection for each request may go to either worker.
    headers = {"connection": "close"}
    async with wire.listening() as port, run_service(log=log, bigtable_port=port, workers=2) as (process, client):
        for _ in range(5):
            lookups = (client.get(f"/v1/models/m/predictions/{n}", headers=headers) for n in range(10))
            assert {answer.status_code for answer in await asyncio.gather(*lookups)} == {200}
        for _ in range(5):
            metrics = (await client.get("/metrics", headers=headers)).text
            assert "foreserve_read_keys_sum 50.0" in metrics
            assert 'foreserve_active_version{model="m"}' in metrics
    assert process.returncode == 0
    assert "Traceback" not in log.read_text()


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"], ids=["nothing", "half a head"])
async def test_connections_without_a_request_are_closed(wire, run_service, sent):
    async with wire.listening() as port, run_service(bigtable_port=port, SERVING_IDLE_SECONDS=0.2) as (_, client):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(sent)
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = run("--port", str(port))
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in result.stderr
    assert "--port" in result.stderr


def test_invalid_settings_are_named():
    result = run("--port", "0", SERVING_DEADLINE_SECONDS="soon", SERVING_INSTANCE="")
    assert result.returncode == 1
    assert "SERVING_DEADLINE_SECONDS (seconds that a request may take) is 'soon'" in result.stderr
    assert "SERVING_INSTANCE" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1.example.test"])  # noqa: S104  must be refused
def test_without_callers_it_listens_on_loopback_only(host):
    result = run("--port", "0", "--host", host)
    assert result.returncode == 1
    assert f"SERVING_AUTH is none, and at {host} anyone could read predictions" in result.stderr
    assert "SERVING_ALLOW_ANONYMOUS=true" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.asyncio
async def test_anonymous_requests_are_answered_at_any_address_if_the_operator_allows_it(wire, run_service):
    anyone = {"SERVING_ALLOW_ANONYMOUS": "true"}
    # 0.0.0.0 includes loopback.
    async with wire.listening() as port, run_service("--host", "0.0.0.0", bigtable_port=port, **anyone) as (_, client):  # noqa: S104  to be allowed
        assert (await client.get("/v1/models/m/predictions/a")).status_code == 200


def test_an_invalid_callers_file_is_named(tmp_path):
    path = tmp_path / "callers.json"
    path.write_text("[]")
    result = run("--port", "0", SERVING_AUTH="api_keys", SERVING_CALLERS_FILE=path)
    assert result.returncode == 1
    assert f"the callers file {path} is broken: the document: Input should be" in result.stderr
    assert "Traceback" not in result.stderr


def run(*options, **variables):
    environment = service_environment(BIGTABLE_EMULATOR_HOST="127.0.0.1:1", **variables)
    return subprocess.run(
        [*SERVICE_COMMAND, *options], env=environment, capture_output=True, text=True, timeout=30, check=False
    )
