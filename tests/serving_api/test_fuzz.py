"""Requests that Schemathesis generates from the OpenAPI document, valid and invalid, with and without API keys."""

import asyncio
import json
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from serving_api.access.api_keys import new_key
from tests.servers import bigtable_server
from tests.store import Store
from tests.waiting import eventually

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(__file__).parents[2] / ".venvs" / "tools" / "bin" / "schemathesis"
CUSTOMER = "customer-4711"


async def fuzz(url, folder, key):
    """Run Schemathesis. Returns True if no check failed, and its output."""
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS,
        "--config-file",
        CONFIGURATION,
        "run",
        f"{url}/openapi.json",
        "--checks",
        "all",
        "--phases",
        "examples,coverage,fuzzing",
        "--max-examples",
        "40",
        "--seed",
        "1",
        "--no-shrink",
        "--continue-on-failure",
        cwd=folder,
        env={**os.environ, "API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode == 0, output.decode()


@pytest.mark.parametrize("auth", ["none", "api_keys"])
async def test_no_answer_is_wrong_and_no_log_tells(run_service, tmp_path, auth):
    key, log, callers = new_key(), tmp_path / "log", tmp_path / "callers.json"
    entry = {"id": key.id, "sha256": key.sha256}
    fuzzer = {"name": "fuzzer", "models": "all", "preview": True, "metrics": True, "keys": [entry]}
    callers.write_text(json.dumps({"callers": [fuzzer]}))
    access = {"SERVING_AUTH": auth, "SERVING_CALLERS_FILE": callers}
    with ExitStack() as emulator:
        address = emulator.enter_context(bigtable_server())
        store = Store(address)
        model = store.model("customer")
        store.refresh(model, {"00003": b'{"buys":1}', CUSTOMER: b"2"})
        store.close()
        async with run_service(log=log, BIGTABLE_EMULATOR_HOST=address, **access) as (process, client):
            passed, output = await fuzz(client.base_url, tmp_path, key.key)
            assert passed, output
            client.headers = {"Authorization": f"Bearer {key.key}"}
            lookup = f"/v1/models/{model}/predictions/{CUSTOMER}"
            assert (await client.get(lookup)).status_code == 200
            statuses = [
                (await client.get(path, headers=headers)).status_code
                for headers in ({}, {"Authorization": f"Bearer {key.key}x"}, {"X-API-Key": key.key})
                for path in (lookup, f"{lookup}-gone", f"{lookup}%FF", f"{lookup}?version=1")
            ]
            assert {404, 422} <= set(statuses)
            assert (401 in statuses) == (auth != "none")
            emulator.close()

            async def fails():
                return (await client.get(lookup)).status_code in {503, 504}

            await eventually(fails)
    assert process.returncode == 0
    written = log.read_text()
    assert "reads fail" in written
    for secret in (CUSTOMER, key.key, key.sha256, key.id):
        assert secret not in written
    assert "Traceback" not in written
