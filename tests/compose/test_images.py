"""The images are built from files of the repository, with one version of Python and locked packages."""

import ast
import re
from pathlib import Path
from string import Template

import pytest

from local_stack.stack import DEFAULT_PORTS, ROOT, Stack
from tests.compose.files import BUILT, ENV, SERVICES, mounts
from tests.dockerfiles import copied, instructions

DOCKERFILES = sorted(
    str(file.relative_to(ROOT))
    for pattern in ("*/Dockerfile", "*/*/Dockerfile")
    for file in ROOT.glob(pattern)
    if not file.relative_to(ROOT).parts[0].startswith(".")
)
STACK = Stack(ports=DEFAULT_PORTS, state=Path("/state"), environments=Path("/environments"))
ENVIRONMENTS = {
    service.name: Path(service.command[0]).parents[1].name for service in STACK.services() if service.name in BUILT
} | {"prepare": "local_stack"}
"""The virtual environment of each service without Docker."""

LOCKS = dict(
    re.findall(r"^\$\(VENVS\)/([\w.-]+)/\.installed: (\S+\.txt)\b", (ROOT / "Makefile").read_text(), re.MULTILINE)
)


def imported(folder):
    """Yield the top-level packages that the modules in a folder import."""
    for module in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                yield from (name.name.split(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0]


def bases(dockerfile):
    """Return the base images of a Dockerfile, with the defaults of its arguments."""
    defaults = dict(line.split("=", 1) for line in instructions(dockerfile, "ARG"))
    return [Template(line.split()[0]).substitute(defaults) for line in instructions(dockerfile, "FROM")]


def test_every_service_that_is_built_has_a_dockerfile():
    assert set(BUILT.values()) <= set(DOCKERFILES)
    assert all(SERVICES[name]["build"]["context"] == "." for name in BUILT)


def test_every_image_has_a_version():
    pulled = {value for variable, value in ENV.items() if variable.endswith("_IMAGE")}
    assert {service["image"] for service in SERVICES.values() if "image" in service} > pulled
    for image in [*pulled, *(base for dockerfile in DOCKERFILES for base in bases(dockerfile))]:
        assert re.search(r":v?\d+\.\d+\.\d+[\w.-]*$", image), f"{image} has no version"


def test_all_images_have_the_python_of_the_makefile():
    final = {bases(dockerfile)[-1] for dockerfile in BUILT.values()}
    assert len(final) == 1
    version, variant = re.fullmatch(r"python:(3\.\d+)(\.\d+-slim-\w+)", final.pop()).groups()
    assert f"PYTHON ?= python{version}\n" in (ROOT / "Makefile").read_text()
    for dockerfile in BUILT.values():  # the full image, which compiles packages, has the same release
        assert {base.replace("slim-", "") for base in bases(dockerfile)} == {
            f"python:{version}{variant.replace('slim-', '')}"
        }


@pytest.mark.parametrize("name", BUILT)
def test_image_installs_the_packages_that_the_service_has_without_docker(name):
    lock = LOCKS[ENVIRONMENTS[name]]
    assert lock in copied(BUILT[name])
    install, *of_ours = (line for line in instructions(BUILT[name], "RUN") if " install " in line)
    assert {"--no-deps", "--require-hashes"} <= set(install.split())
    assert all({"--no-deps", "--no-build-isolation"} <= set(line.split()) for line in of_ours)


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_image_copies_files_that_exist(dockerfile):
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = copied(dockerfile)
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), f"{source} does not exist"
        assert Path(source).parts[0] in allowed, f".dockerignore excludes {source}"


@pytest.mark.parametrize("name", BUILT)
def test_image_has_all_packages_that_its_modules_import(name):
    ours = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists()}
    packages = {source for source in copied(BUILT[name]) if (ROOT / source).is_dir()}
    folders = [*packages, *(mount["source"] for mount in mounts(name, "bind").values())]
    needed = {package for folder in folders for package in imported(ROOT / folder)} & ours
    assert needed or name == "bigquery"  # a distribution of its own
    assert needed <= packages


@pytest.mark.parametrize("name", BUILT)
def test_image_runs_as_a_user_with_a_number(name):
    """A name could be root. Kubernetes checks the number."""
    user = instructions(BUILT[name], "USER")[-1]
    assert user.isdecimal()
    assert any(line.endswith(f"--uid {user}") for line in instructions(BUILT[name], "RUN useradd"))


def test_reports_run_in_an_image_that_another_service_builds():
    assert SERVICES["reports"]["image"] in {SERVICES[name].get("image") for name in BUILT}
    assert SERVICES["reports"]["pull_policy"] == "never"
