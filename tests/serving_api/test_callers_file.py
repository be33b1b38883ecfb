"""The callers file, and the command that makes entries for it."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

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
def test_a_broken_callers_file_says_where(tmp_path, content, message):
    path = tmp_path / "callers.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=f"the callers file {path}") as error:
        read_callers_file(path)
    assert message in str(error.value)


def make_key(*options):
    return subprocess.run(
        [sys.executable, "-m", "serving_api.create_key", *options], capture_output=True, text=True, check=False
    )


@pytest.mark.asyncio
async def test_the_command_makes_keys_that_work(wire, serve, tmp_path):
    rights = ("--models", "m", "n", "--preview", "--requests-per-second", "100", "--days", "30")
    made = make_key("--name", "shop", *rights)
    key = made.stderr.split()[-1]
    entry = json.loads(made.stdout)
    assert key not in made.stdout
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


def test_the_command_names_what_is_wrong():
    made = make_key("--name", "two words")
    assert made.returncode == 1
    assert "--name 'two words': String should match" in made.stderr
    assert not made.stdout
