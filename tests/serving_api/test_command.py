"""The command, in a process of its own."""

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import httpx
import pytest

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "serving_api"]
SETTINGS = {"SERVING_PROJECT": "test-project", "SERVING_INSTANCE": "test-instance"}


def environment(**variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SERVING_")}
    return {**kept, "BIGTABLE_EMULATOR_HOST": "127.0.0.1:1", **SETTINGS, **variables}


@asynccontextmanager
async def running(eventually, *arguments, **variables):
    """The service in a process; yields the process and a client, once it accepts connections."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--port", "0", *arguments, env=environment(**variables), stderr=asyncio.subprocess.PIPE
    )
    try:
        listening = json.loads(await process.stderr.readline())
        assert listening["message"] == "listening"
        async with httpx.AsyncClient(base_url=listening["url"], timeout=20) as client:
            await eventually(partial(_accepts, client.base_url))
            yield process, client
    finally:
        if process.returncode is None:
            process.terminate()
            await process.communicate()


@pytest.mark.asyncio
async def test_sigterm_drains(wire, eventually):
    wire.hold(b"secret-id")
    async with wire.listening() as port:
        variables = {"BIGTABLE_EMULATOR_HOST": f"127.0.0.1:{port}", "SERVING_DEADLINE_SECONDS": "20"}
        async with running(eventually, **variables) as (process, client):
            asking = asyncio.create_task(client.get("/v1/models/m/predictions/secret-id"))
            await wire.saw(1)
            process.terminate()
            await eventually(partial(_refuses, client.base_url))
            wire.release(b"secret-id")
            assert (await asking).json()["prediction"] == {"of": "secret-id"}
            _, logs = await process.communicate()
    assert process.returncode == 0
    lines = [json.loads(line) for line in logs.splitlines()]
    assert any({"message": "serving", "model": "m", "severity": "INFO"}.items() <= line.items() for line in lines)
    assert b"secret-id" not in logs


@pytest.mark.asyncio
async def test_no_request_is_lost_in_a_rolling_restart(wire, eventually):
    """Two replicas under load are replaced in turn; what a client does not get an answer to, it asks the other one."""
    replicas = {}
    answered = asked_again = 0
    stop = asyncio.Event()

    async def client(number):
        nonlocal answered, asked_again
        while not stop.is_set():
            answered += 1
            for attempt in itertools.count():
                replica = replicas[(number + answered + attempt) % 2]
                try:
                    answer = await replica.get(f"/v1/models/m/predictions/{number}")
                except httpx.TransportError:
                    asked_again += 1
                    await asyncio.sleep(0.01)
                    continue
                assert answer.status_code == 200, answer.text
                assert answer.json()["prediction"] == {"of": f"{number}"}
                break

    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(wire.listening())
        variables = {"BIGTABLE_EMULATOR_HOST": f"127.0.0.1:{port}", "SERVING_DEADLINE_SECONDS": "20"}
        processes = {}
        for n in range(2):
            processes[n], replicas[n] = await stack.enter_async_context(running(eventually, **variables))
        clients = [asyncio.create_task(client(number)) for number in range(8)]
        for n in range(2):
            before = answered
            await eventually(lambda before=before: _is(answered > before + 50))
            processes[n].terminate()
            await processes[n].communicate()
            assert processes[n].returncode == 0
            processes[n], replicas[n] = await stack.enter_async_context(running(eventually, **variables))
        before = answered
        await eventually(lambda: _is(answered > before + 50))
        stop.set()
        await asyncio.gather(*clients)
    assert asked_again < answered


async def _is(condition):
    return condition


@pytest.mark.asyncio
async def test_several_workers_share_their_metrics(wire, eventually):
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(wire.listening())
        service = running(eventually, "--workers", "2", BIGTABLE_EMULATOR_HOST=f"127.0.0.1:{port}")
        process, client = await stack.enter_async_context(service)
        for _ in range(2):
            while b"Started worker" not in await process.stderr.readline():
                pass
        one_each = {"connection": "close"}  # so that either worker may get it
        for _ in range(5):
            lookups = (client.get(f"/v1/models/m/predictions/{n}", headers=one_each) for n in range(10))
            assert {answer.status_code for answer in await asyncio.gather(*lookups)} == {200}
        for _ in range(5):
            metrics = (await client.get("/metrics", headers=one_each)).text
            assert "foreserve_read_keys_sum 50.0" in metrics
            assert 'foreserve_active_version{model="m"}' in metrics
        process.terminate()
        _, logs = await process.communicate()
    assert process.returncode == 0
    assert b"Traceback" not in logs


@pytest.mark.asyncio
@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\n"], ids=["nothing", "half a head"])
async def test_clients_that_do_not_ask_are_cut(wire, eventually, sent):
    async with wire.listening() as port:
        variables = {"BIGTABLE_EMULATOR_HOST": f"127.0.0.1:{port}", "SERVING_IDLE_SECONDS": "0.2"}
        async with running(eventually, **variables) as (_, client):
            reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            writer.write(sent)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()


def test_a_port_that_is_taken_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = _run("--port", str(port))
    assert result.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in result.stderr
    assert "--port" in result.stderr


def test_bad_settings_are_named():
    result = _run("--port", "0", SERVING_DEADLINE_SECONDS="soon", SERVING_INSTANCE="")
    assert result.returncode == 1
    assert "SERVING_DEADLINE_SECONDS (seconds that a request may take) is 'soon'" in result.stderr
    assert "SERVING_INSTANCE" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1.example.test"])  # noqa: S104  what must be refused
def test_it_does_not_answer_strangers_unless_told_to(host):
    result = _run("--port", "0", "--host", host)
    assert result.returncode == 1
    assert f"SERVING_AUTH is none, and at {host} anyone could read predictions" in result.stderr
    assert "SERVING_ALLOW_ANONYMOUS=true" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.asyncio
async def test_it_answers_strangers_when_told_to(wire, eventually):
    async with wire.listening() as port:
        variables = {"BIGTABLE_EMULATOR_HOST": f"127.0.0.1:{port}", "SERVING_ALLOW_ANONYMOUS": "true"}
        async with running(eventually, "--host", "0.0.0.0", **variables) as (_, client):  # noqa: S104  loopback is in it
            assert (await client.get("/v1/models/m/predictions/a")).status_code == 200


def test_a_callers_file_that_is_broken_is_named(tmp_path):
    path = tmp_path / "callers.json"
    path.write_text("[]")
    result = _run("--port", "0", SERVING_AUTH="api_keys", SERVING_CALLERS_FILE=str(path))
    assert result.returncode == 1
    assert f"the callers file {path} is broken: the document: Input should be" in result.stderr
    assert "Traceback" not in result.stderr


def _run(*arguments, **variables):
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(**variables), capture_output=True, text=True, timeout=30, check=False
    )


async def _accepts(url):
    try:
        _, writer = await asyncio.open_connection(url.host, url.port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


async def _refuses(url):
    return not await _accepts(url)
