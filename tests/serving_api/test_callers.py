"""The callers file, the command that creates API keys for it, and rate limits."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_api.access.callers import RateLimit
from serving_api.access.callers_file import read_callers_file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("", "the document: Invalid JSON"),
        ('{"callers": [{"name": "a b", "models": "all"}]}', "callers.0.name: String should match"),
        ('{"callers": [{"name": "a", "models": "some"}]}', "callers.0.models"),
        ('{"callers": [{"name": "a"}]}', "callers.0.models: Field required"),
        ('{"callers": [{"name": "a", "models": [], "tokens": [{}]}]}', "callers.0.tokens.0"),
        ('{"callers": [{"name": "a", "models": [], "keys": [{"id": "foreserve_1", "sha256": "5"}]}]}', "keys.0.sha256"),
        ('{"callers": [{"name": "a", "models": []}, {"name": "a", "models": []}]}', "the name a is there more than"),
        ('{"callers": [{"name": "a", "models": [], "admin": true}]}', "callers.0.admin: Extra inputs"),
        ('{"callers": [{"name": "a", "models": [], "requests_per_second": 0}]}', "requests_per_second: Input should"),
    ],
)
def test_the_error_of_an_invalid_callers_file_names_the_field(tmp_path, content, message):
    path = tmp_path / "callers.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"the callers file {path}") as error:
        read_callers_file(path)
    assert message in str(error.value)


def create_key(*options):
    return subprocess.run(
        [sys.executable, "-m", "serving_api.create_key", *options], capture_output=True, text=True, check=False
    )


@pytest.mark.asyncio
async def test_the_command_creates_keys_that_work(wire, serve, tmp_path):
    rights = ("--models", "m", "n", "--preview", "--requests-per-second", "100", "--days", "30")
    created = create_key("--name", "shop", *rights)
    key = created.stderr.split()[-1]
    entry = json.loads(created.stdout)
    assert key not in created.stdout
    assert (entry["models"], entry["preview"], entry["requests_per_second"]) == (["m", "n"], True, 100)
    assert "metrics" not in entry
    remains = datetime.fromisoformat(entry["keys"][0]["expires"]) - datetime.now(UTC)
    assert timedelta(days=29) < remains <= timedelta(days=30)
    path = tmp_path / "callers.json"
    path.write_text(json.dumps({"callers": [entry]}))
    settings = {"auth": "api_keys", "callers_file": path}
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
        answer = await client.get("/v1/models/m/predictions/a", headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200


def test_the_command_names_an_invalid_option():
    created = create_key("--name", "two words")
    assert created.returncode == 1
    assert "--name 'two words': String should match" in created.stderr
    assert not created.stdout


@given(rate=st.floats(0.01, 1000), pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_the_rate_is_never_exceeded_beyond_a_burst_of_one_second(rate, pauses):
    limit = RateLimit(rate)
    now, taken = 1000.0, []
    for pause in pauses:
        now += pause
        if wait := limit.take(now):
            now += wait + 1e-9
            assert limit.take(now) == 0, "a request is admitted after the time that the refusal told"
        taken.append(now)
    for first, start in enumerate(taken):
        for last in range(first, len(taken)):
            assert last - first + 1 <= max(rate, 1) + (taken[last] - start) * rate + 1e-3
