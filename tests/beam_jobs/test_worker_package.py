"""The packages of workers: the wheel, and the image that can be used instead."""

import ast
import base64
import hashlib
import re
import sys
from importlib.metadata import files, requires
from zipfile import ZipFile

import apache_beam
import pytest
from packaging.requirements import Requirement

from beam_jobs.options import IMAGE_PYTHON
from beam_jobs.worker_package import build_wheel
from local_stack.servers import ROOT

PACKAGES = ("beam_jobs", "prediction_store")
DOCKERFILE = (ROOT / "beam_jobs" / "Dockerfile").read_text()


@pytest.fixture
def wheel(tmp_path):
    with ZipFile(build_wheel(tmp_path)) as archive:
        yield archive


def test_the_wheel_has_what_is_on_disk(wheel):
    modules = {path.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == modules
    for module in modules:
        assert wheel.read(module) == (ROOT / module).read_bytes()


def test_the_wheel_records_its_files(wheel):
    record, *_ = [name for name in wheel.namelist() if name.endswith("RECORD")]
    recorded = [line.split(",") for line in wheel.read(record).decode().splitlines()]
    assert [name for name, _, _ in recorded] == wheel.namelist()
    for name, digest, size in recorded[:-1]:
        content = wheel.read(name)
        algorithm, _, value = digest.partition("=")
        assert base64.urlsafe_b64decode(value + "=") == hashlib.new(algorithm, content).digest()
        assert int(size) == len(content)
    assert recorded[-1] == [record, "", ""]


def test_the_same_modules_make_the_same_wheel(tmp_path):
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    first, second = (build_wheel(folder).read_bytes() for folder in folders)
    assert first == second


def test_beams_containers_have_what_the_packages_import(wheel):
    # They have apache-beam[gcp]. So a worker that installs the wheel needs no package index.
    (metadata,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
    assert "Requires-Dist" not in wheel.read(metadata).decode()
    direct = required("apache-beam", "gcp")
    names = {"apache-beam", *direct, *(name for package in direct for name in required(package))}
    brought = {str(file) for name in names for file in files(name)}
    for module in wheel.namelist():
        if module.endswith(".py"):
            for name in imported(wheel.read(module)):
                path = name.replace(".", "/")
                assert {f"{path}.py", f"{path}/__init__.py"} & brought, f"{module} imports {name}"


def required(package, extra=""):
    """The packages that a package requires."""
    requirements = [Requirement(text) for text in requires(package) or []]
    return {r.name for r in requirements if not r.marker or r.marker.evaluate({"extra": extra})}


def imported(source):
    """The modules that a module imports, without this repository's and Python's own."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.split(".")[0] not in {*PACKAGES, *sys.stdlib_module_names})


def test_the_image_is_beams_of_the_version_that_submits():
    locked = re.search(r"^apache-beam==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)[1]
    assert re.findall(r"^FROM (.+)$", DOCKERFILE, re.MULTILINE) == [
        "apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION}"
    ]
    assert f"ARG PYTHON_VERSION={IMAGE_PYTHON}" in DOCKERFILE.splitlines()
    assert f"ARG BEAM_VERSION={locked}" in DOCKERFILE.splitlines()
    assert apache_beam.__version__ == locked


def test_the_image_has_what_the_wheel_has():
    copied = dict(line.split() for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE))
    assert copied == {name: f"/app/{name}" for name in PACKAGES}
    assert "ENV PYTHONPATH=/app" in DOCKERFILE
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert {f"!{name}" for name in PACKAGES} <= set(allowed)


def test_the_image_keeps_the_entry_point_of_beam():
    assert not re.search(r"^(ENTRYPOINT|CMD|USER)", DOCKERFILE, re.MULTILINE)
