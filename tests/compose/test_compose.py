"""docker-compose.yaml is valid, its images can be built from what there is, and it is the stack of local_stack."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bigquery_client
from jsonschema.validators import validator_for

from local_stack.stack import DEFAULT_PORTS, INSTANCE, PROJECT, ROOT, Stack
from prediction_store.instance import Instance
from prediction_store.registry import Registry

TEXT = (ROOT / "docker-compose.yaml").read_text()
SERVICES = yaml.safe_load(TEXT)["services"]
BUILT = {name: service["build"] for name, service in SERVICES.items() if "build" in service}

STACK = Stack(ports=DEFAULT_PORTS, state=Path("/state"), environments=Path("/environments"))
LOCAL = {service.name: service for service in STACK.services()}

IN_CONTAINERS = {
    str(ROOT): "/app",
    "/environments/airflow": "/venv",
    "/state/airflow": "/airflow",
    "/state/reports": "/reports",
    **{
        f"127.0.0.1:{DEFAULT_PORTS[port]}": f"{service}:{DEFAULT_PORTS[port]}"
        for service, port in [
            ("bigtable", "bigtable"),
            ("bigquery", "bigquery"),
            ("bigquery", "bigquery_storage"),
            ("api", "api"),
        ]
    },
}
"""Where containers find what local processes find at an address or in a folder.

Airflow's own address stays: it is only Airflow and the user's browser that go there.
"""

PUBLISHED = {
    "bigtable": ["bigtable"],
    "bigquery": ["bigquery", "bigquery_storage"],
    "reports": ["reports"],
    "api": ["api"],
    "airflow": ["airflow"],
}
NOT_PUBLISHED = {"airflow_worker_logs", "airflow_trigger_logs"}  # Airflow shows these logs itself

OTHER_ENVIRONMENT = {
    "api": {"SERVING_ALLOW_ANONYMOUS": "true"},  # what listens on all addresses of a container is published on loopback
    "airflow": {
        "AIRFLOW__API__HOST": "0.0.0.0",  # noqa: S104  what is published comes from outside the container
        "PATH": None,  # the image's
        "SPT_NOENV": None,  # Docker needs nothing to find its processes by
    },
}
"""What containers have instead of a variable of the local stack, or beside them; None: nothing."""


def in_container(value: str) -> str:
    for here, there in IN_CONTAINERS.items():
        value = value.replace(here, there)
    return value


def parsed(command):
    """The program, and its options."""
    program, options = list(command[:3]), command[3:]
    program[0] = Path(program[0]).name
    return program, dict(zip(options[::2], options[1::2], strict=True))


def instructions(dockerfile, name):
    """What follows an instruction, wherever a Dockerfile has it."""
    return re.findall(rf"^{name} (.+)$", (ROOT / dockerfile).read_text(), re.MULTILINE)


def copied(dockerfile):
    """The files and folders of the repository that an image gets."""
    return [path for line in instructions(dockerfile, "COPY") if "--from" not in line for path in line.split()[:-1]]


def imported(folder):
    """The top-level packages that the modules below a folder import."""
    for module in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Import):
                yield from (name.name.split(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0]


def test_follows_the_compose_specification():
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    errors = [
        f"{error.json_path}: {error.message}"
        for error in validator_for(schema)(schema).iter_errors(yaml.safe_load(TEXT))
    ]
    assert errors == []


def test_values_are_literal():
    assert "$" not in TEXT  # Compose would put variables of the user's shell in


def test_has_the_services_of_the_local_stack():
    assert SERVICES.keys() == {*LOCAL, "prepare"}


@pytest.mark.parametrize("name", ["bigquery", "api", "airflow"])
def test_command_is_that_of_the_local_stack(name):
    program, options = parsed(LOCAL[name].command)
    if options:
        options["--host"] = "0.0.0.0"  # noqa: S104  other containers come from outside
    assert parsed(SERVICES[name]["command"]) == (program, options)


def test_reports_are_shown_as_in_the_local_stack():
    program, *command = LOCAL["reports"].command
    inside = [in_container(word).replace("127.0.0.1", "0.0.0.0") for word in command]  # noqa: S104  as above
    assert SERVICES["reports"]["command"] == [Path(program).name, *inside]


def test_bigtable_is_googles_emulator():
    assert SERVICES["bigtable"]["command"] == [
        *("gcloud", "beta", "emulators", "bigtable", "start"),
        f"--host-port=0.0.0.0:{DEFAULT_PORTS['bigtable']}",
    ]


@pytest.mark.parametrize("name", LOCAL)
def test_environment_is_that_of_the_local_stack(name):
    local, other = LOCAL[name].environment, OTHER_ENVIRONMENT.get(name, {})
    expected = {variable: in_container(value) for variable, value in local.items()} | other
    assert SERVICES[name].get("environment", {}) == {k: v for k, v in expected.items() if v is not None}


def test_prepare_finds_the_emulators():
    expected = {variable: in_container(value) for variable, value in STACK.client_environment().items()}
    assert SERVICES["prepare"]["environment"] == expected


def test_every_port_for_users_is_published_on_loopback():
    expected = {
        name: [f"127.0.0.1:{DEFAULT_PORTS[port]}:{DEFAULT_PORTS[port]}" for port in ports]
        for name, ports in PUBLISHED.items()
    }
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == expected
    assert {port for ports in PUBLISHED.values() for port in ports} == DEFAULT_PORTS.keys() - NOT_PUBLISHED


@pytest.mark.parametrize("name", [name for name, service in LOCAL.items() if service.ready_url])
def test_health_is_what_the_local_stack_waits_for(name):
    assert f'"{LOCAL[name].ready_url}"' in SERVICES[name]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", LOCAL)
def test_stops_as_in_the_local_stack(name):
    assert SERVICES[name].get("stop_signal", "SIGTERM") == ("SIGINT" if LOCAL[name].interrupt else "SIGTERM")


def test_waits_only_for_what_can_be_waited_for():
    for service in SERVICES.values():
        for awaited, wait in service.get("depends_on", {}).items():
            condition = "service_healthy" if "healthcheck" in SERVICES[awaited] else "service_completed_successfully"
            assert wait == {"condition": condition}


def test_images_have_versions():
    pulled = [
        service["image"] for service in SERVICES.values() if "build" not in service and "pull_policy" not in service
    ]
    for build in BUILT.values():
        pulled += [line.split()[0] for line in instructions(build["dockerfile"], "FROM")]
    assert len(pulled) > len(BUILT)
    for image in pulled:
        assert re.search(r":\d[\w.-]+$", image), f"{image} has no version"


@pytest.mark.parametrize("name", ["prepare", "reports"])
def test_runs_in_an_image_that_is_built(name):
    assert SERVICES[name]["image"] in {SERVICES[name].get("image") for name in BUILT}


@pytest.mark.parametrize("name", BUILT)
def test_image_is_made_of_what_there_is(name):
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = copied(BUILT[name]["dockerfile"])
    assert BUILT[name]["context"] == "."
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), f"{source} is not there"
        assert Path(source).parts[0] in allowed, f".dockerignore leaves {source} out"


@pytest.mark.parametrize("name", BUILT)
def test_image_has_all_packages_that_its_modules_import(name):
    ours = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists()}
    packages = {source for source in copied(BUILT[name]["dockerfile"]) if (ROOT / source).is_dir()}
    folders = [*packages, *(volume.split(":")[0] for volume in SERVICES[name].get("volumes", []))]
    needed = {package for folder in folders for package in imported(ROOT / folder)} & ours
    assert needed
    assert needed <= packages


@pytest.mark.parametrize("name", BUILT)
def test_image_does_not_run_as_root(name):
    user = instructions(BUILT[name]["dockerfile"], "USER")[-1]
    assert any(line.endswith(user) for line in instructions(BUILT[name]["dockerfile"], "RUN useradd"))


def test_mounted_folders_are_there():
    mounted = [volume.split(":") for service in SERVICES.values() for volume in service.get("volumes", [])]
    assert mounted
    for folder, inside, *mode in mounted:
        if folder in yaml.safe_load(TEXT)["volumes"]:
            continue
        assert (ROOT / folder).is_dir()
        assert (inside, mode) == (f"/app/{Path(folder)}", ["ro"])


def test_airflow_leaves_the_reports_where_they_are_shown():
    volumes = {name: service["volumes"] for name, service in SERVICES.items() if "volumes" in service}
    assert "reports:/reports" in volumes["airflow"]
    assert volumes["reports"] == ["reports:/reports:ro"]


def test_prepare_creates_the_registry_and_loads_purchases(bigtable, bigquery):
    program, *arguments = SERVICES["prepare"]["command"]
    assert program == "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.check_output([sys.executable, *arguments], env=environment, text=True)
    client = bigquery_client.Client(PROJECT, credentials=AnonymousCredentials())
    rows = next(iter(client.query_and_wait("SELECT COUNT(*) FROM shop.transactions")))[0]
    assert rows > 0
    assert output.startswith(f"{rows:,} purchases loaded")
    with Registry(Instance(PROJECT, INSTANCE)) as registry:
        assert registry.find("a_model_without_versions") is None
