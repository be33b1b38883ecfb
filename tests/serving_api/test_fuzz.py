"""The command, sent what its own OpenAPI document allows and what it does not, with and without keys."""

import asyncio
import json
import os
import sys
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from serving_api.access.api_keys import new_key
from tests.servers import bigtable_server
from tests.store import Store

pytestmark = [pytest.mark.asyncio, pytest.mark.slow]

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(__file__).parents[2] / ".venvs" / "tools" / "bin" / "schemathesis"
CUSTOMER = "customer-4711"


@asynccontextmanager
async def running(eventually, logs, **variables):
    """The command, logging to a file; yields its address once it has read the registry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SERVING_")}
    with logs.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "serving_api", "--port", "0"),
            env={**kept, "SERVING_PROJECT": "test-project", "SERVING_INSTANCE": "test-instance", **variables},
            stderr=file,
        )
    url = None

    async def ready():
        nonlocal url
        url = url or next((json.loads(line)["url"] for line in logs.read_text().splitlines() if "url" in line), None)
        return url is not None and "Started worker" in logs.read_text()

    try:
        await eventually(ready)
        yield url
    finally:
        process.terminate()
        assert await process.wait() == 0


async def fuzz(url, folder, key):
    """Send requests made out of the OpenAPI document; whether all answers are well, and what Schemathesis says."""
    process = await asyncio.create_subprocess_exec(
        *(SCHEMATHESIS, "--config-file", CONFIGURATION, "run", f"{url}/openapi.json"),
        *("--checks", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", "40"),
        *("--seed", "1", "--no-shrink", "--continue-on-failure"),
        cwd=folder,
        env={**os.environ, "API_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode == 0, said.decode()


@pytest.mark.parametrize("auth", ["none", "api_keys"])
async def test_no_answer_is_wrong_and_no_log_tells(eventually, tmp_path, auth):
    key, logs, callers = new_key(), tmp_path / "logs", tmp_path / "callers.json"
    entry = {"id": key.id, "sha256": key.sha256}
    fuzzer = {"name": "fuzzer", "models": "all", "preview": True, "metrics": True, "keys": [entry]}
    callers.write_text(json.dumps({"callers": [fuzzer]}))
    access = {"SERVING_AUTH": auth, "SERVING_CALLERS_FILE": str(callers)}
    with ExitStack() as emulator:
        address = emulator.enter_context(bigtable_server())
        store = Store(address)
        model = store.model("customer")
        store.refresh(model, {"00003": b'{"buys":1}', CUSTOMER: b"2"})
        store.close()
        async with running(eventually, logs, BIGTABLE_EMULATOR_HOST=address, **access) as url:
            well, said = await fuzz(url, tmp_path, key.key)
            assert well, said
            headers = {"Authorization": f"Bearer {key.key}"}
            async with httpx.AsyncClient(base_url=url, headers=headers) as client:
                lookup = f"/v1/models/{model}/predictions/{CUSTOMER}"
                assert (await client.get(lookup)).status_code == 200
                statuses = [
                    (await client.get(path, headers=other)).status_code
                    for other in (headers, {"Authorization": f"Bearer {key.key}x"}, {"X-API-Key": key.key})
                    for path in (lookup, f"{lookup}-gone", f"{lookup}%FF", f"{lookup}?version=1")
                ]
                assert {404, 422} <= set(statuses)
                assert (401 in statuses) == (auth != "none")
                emulator.close()

                async def fails():
                    return (await client.get(lookup)).status_code in {503, 504}

                await eventually(fails)
    written = logs.read_text()
    assert "reads fail" in written
    for secret in (CUSTOMER, key.key, key.sha256, key.id):
        assert secret not in written
    assert "Traceback" not in written
