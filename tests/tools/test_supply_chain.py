"""The audit of locked packages, against a stand-in for osv.dev, and the lists of the images' packages."""

import json
import subprocess

import pytest

from tests.http_server import http_server
from tests.repository import ROOT
from tests.test_repository import pins

VULNERABLE = ("jinja2", "3.1.2")


@pytest.fixture
def osv():
    """The packages that were asked for, and the URL of a stand-in for osv.dev.

    It answers as https://google.github.io/osv.dev/post-v1-query says: one package has a vulnerability.
    """
    asked = []

    def answer(request):
        query = json.loads(request.body)
        name, version = query["package"]["name"], query["version"]
        asked.append(f"{name}=={version}")
        events = [{"introduced": "0"}, {"fixed": "3.1.3"}]
        affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
        found = {"id": "GHSA-0000-0000-0001", "details": "made up", "affected": [affected]}
        return {"vulns": [found]} if (name, version) == VULNERABLE else {}

    with http_server(answer) as url:
        yield asked, f"{url}/v1/query"


def make(target, **variables):
    """Run a target without installing what it needs."""
    settings = [f"{name}={value}" for name, value in variables.items()]
    command = ["make", "-o", ".venvs/tools/.installed", target, *settings]
    return subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True)


def test_the_audit_asks_for_every_package_and_fails_for_one_that_is_vulnerable(osv, tmp_path):
    asked, url = osv
    right = make("audit", OSV=url, LOCKS="tests/infra/terraform/requirements.txt")
    assert right.returncode == 0, right.stderr
    locked = pins("tests/infra/terraform/requirements.txt")
    assert sorted(asked) == sorted(f"{name}=={version}" for name, version in locked.items())
    (tmp_path / "lock.txt").write_text(f"{'=='.join(VULNERABLE)} \\\n    --hash=sha256:{'0' * 64}\n")
    wrong = make("audit", OSV=url, LOCKS=f"{tmp_path}/lock.txt tests/infra/terraform/requirements.txt")
    assert wrong.returncode != 0
    assert "GHSA-0000-0000-0001 3.1.3" in wrong.stdout


def test_the_audit_fails_without_data():
    ended = make("audit", OSV="http://127.0.0.1:1/v1/query", LOCKS="tests/infra/terraform/requirements.txt")
    assert ended.returncode != 0


def test_the_packages_of_an_image_are_listed_with_their_hashes(tmp_path):
    lock = "serving_api/requirements.txt"
    ended = make("sbom", SBOM=tmp_path, IMAGE_LOCKS=lock)
    assert ended.returncode == 0, ended.stderr
    document = json.loads((tmp_path / "serving_api.json").read_text())
    assert document["bomFormat"] == "CycloneDX"
    components = document["components"]
    assert {part["name"]: part["version"] for part in components} == pins(lock)
    assert all(part["purl"] and part["externalReferences"][0]["hashes"] for part in components)
