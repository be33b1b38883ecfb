"""The services of docker-compose.yaml are those of the local stack, watched, and confined."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bigquery_client

from local_stack.stack import DEFAULT_PORTS, INSTANCE, PROJECT, ROOT, Stack
from prediction_store.layout import Instance
from prediction_store.registry import Registry
from tests.compose import files
from tests.compose.files import BUILT, ENV, SERVICES, mounts, resolved
from tests.dockerfiles import instructions

STACK = Stack(ports=DEFAULT_PORTS, state=Path("/state"), environments=Path("/environments"))
LOCAL = {service.name: service for service in STACK.services()}
DOCUMENT = (ROOT / "docs" / "local-stack.md").read_text()

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
    "bigtable": {"BIGTABLE_PORT": 8086},
    "bigquery": {"BIGQUERY_PORT": 9050, "BIGQUERY_STORAGE_PORT": 9060},
    "reports": {"REPORTS_PORT": 8001},
    "api": {"API_PORT": 8000},
    "airflow": {"AIRFLOW_PORT": 8080},
    "prometheus": {"PROMETHEUS_PORT": 9090},
    "grafana": {"GRAFANA_PORT": 3000},
}
"""The ports for users: the variable in .env, and the port in the container."""

NOT_PUBLISHED = {"airflow_worker_logs", "airflow_trigger_logs"}  # Airflow shows these logs itself
ONLY_HERE = {"prepare", "prometheus", "grafana"}
ENDS = {"prepare"}  # nobody asks whether it is well

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


def leaves(value, path=""):
    """The values in a document, by their path."""
    match value:
        case dict():
            return {k: v for name, inner in value.items() for k, v in leaves(inner, f"{path}/{name}").items()}
        case list():
            return {k: v for n, inner in enumerate(value) for k, v in leaves(inner, f"{path}/{n}").items()}
    return {path: value}


def test_env_has_every_variable_of_the_file_and_no_other():
    text = (ROOT / "docker-compose.yaml").read_text()
    assert set(re.findall(r"\$\{?(\w+)", text)) == ENV.keys()


def test_has_the_services_of_the_local_stack():
    assert SERVICES.keys() == LOCAL.keys() | ONLY_HERE


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
    assert "google-cloud-cli:" in SERVICES["bigtable"]["image"]
    program, *options = SERVICES["bigtable"]["command"]
    assert Path(program).name == "cbtemulator"
    assert options == ["-host=0.0.0.0", f"-port={DEFAULT_PORTS['bigtable']}"]


@pytest.mark.parametrize("name", LOCAL)
def test_environment_is_that_of_the_local_stack(name):
    local, other = LOCAL[name].environment, OTHER_ENVIRONMENT.get(name, {})
    expected = {variable: in_container(value) for variable, value in local.items()} | other
    assert SERVICES[name].get("environment", {}) == {k: v for k, v in expected.items() if v is not None}


def test_prepare_finds_the_emulators():
    expected = {variable: in_container(value) for variable, value in STACK.client_environment().items()}
    assert SERVICES["prepare"]["environment"] == expected


def test_every_port_for_users_is_published_on_loopback():
    for name, service in SERVICES.items():
        published = {(port["host_ip"], port["published"], port["target"]) for port in service.get("ports", [])}
        expected = {("127.0.0.1", ENV[variable], port) for variable, port in PUBLISHED.get(name, {}).items()}
        assert published == expected


def test_ports_are_those_of_the_local_stack():
    for name, port in DEFAULT_PORTS.items():
        if name not in NOT_PUBLISHED:
            assert ENV[f"{name.upper()}_PORT"] == str(port)


def test_a_port_in_the_shell_moves_what_is_published_and_what_users_are_told():
    other = {variable: str(int(port) + 10_000) for variable, port in ENV.items() if variable.endswith("_PORT")}
    here, moved = leaves(SERVICES), leaves(resolved(**other)["services"])
    told = {
        "/airflow/environment/AIRFLOW__API__BASE_URL": "AIRFLOW_PORT",
        "/airflow/environment/FORESERVE_REPORTS_URL": "REPORTS_PORT",
        "/grafana/environment/GF_SERVER_ROOT_URL": "GRAFANA_PORT",
        "/prometheus/command/2": "PROMETHEUS_PORT",
    }
    changed = {path for path in here if here[path] != moved[path] and not path.endswith("/published")}
    assert changed == told.keys()
    for path, variable in told.items():
        assert moved[path] == here[path].replace(ENV[variable], other[variable])
    published = {path: value for path, value in moved.items() if path.endswith("/published")}
    assert sorted(published.values()) == sorted(other.values())


@pytest.mark.parametrize("name", SERVICES)
def test_the_document_says_where_a_service_is(name):
    services, _ = DOCUMENT.split("| volume |")
    (row,) = re.findall(rf"^\| `{name}` \|.*$", services, re.MULTILINE)
    for variable in PUBLISHED.get(name, {}):
        assert f"127.0.0.1:{ENV[variable]}" in row


def test_the_document_says_what_is_in_each_volume():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| (?:yes|no) \|$", DOCUMENT, re.MULTILINE)
    assert set(rows) == files.PROJECT["volumes"].keys()


@pytest.mark.parametrize("name", [name for name, service in LOCAL.items() if service.ready_url])
def test_health_is_what_the_local_stack_waits_for(name):
    assert f'"{LOCAL[name].ready_url}"' in SERVICES[name]["healthcheck"]["test"][-1]


def test_health_of_every_service_is_asked_at_a_port_that_it_listens_to():
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == ENDS
    for name, ports in PUBLISHED.items():
        asked = re.search(r"127\.0\.0\.1[:/](\d+)", SERVICES[name]["healthcheck"]["test"][-1])
        assert asked
        assert int(asked[1]) in ports.values()


@pytest.mark.parametrize("name", LOCAL)
def test_stops_as_in_the_local_stack(name):
    assert SERVICES[name].get("stop_signal", "SIGTERM") == ("SIGINT" if LOCAL[name].interrupt else "SIGTERM")


def test_waits_only_for_what_can_be_waited_for():
    for service in SERVICES.values():
        for awaited, wait in service.get("depends_on", {}).items():
            condition = "service_completed_successfully" if awaited in ENDS else "service_healthy"
            assert wait["condition"] == condition


@pytest.mark.parametrize("name", SERVICES)
def test_is_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"cap_add", "devices", "ipc", "network_mode", "pid", "privileged", "userns_mode"}


@pytest.mark.parametrize("name", SERVICES)
def test_is_not_root(name):
    images = {SERVICES[built].get("image"): dockerfile for built, dockerfile in BUILT.items()}
    dockerfile = BUILT.get(name) or images.get(SERVICES[name].get("image"))
    user = instructions(dockerfile, "USER")[-1] if dockerfile else SERVICES[name]["user"].split(":")[0]
    assert int(user) > 0


def test_what_is_written_has_a_place_outside_the_image():
    writable = {
        name: {entry.split(":")[0] for entry in service.get("tmpfs", [])}
        | {target for target, mount in mounts(name, "volume").items() if not mount.get("read_only")}
        for name, service in SERVICES.items()
    }
    airflow = SERVICES["airflow"]["environment"]
    assert writable["airflow"] == {airflow["AIRFLOW_HOME"], airflow["FORESERVE_REPORTS"], "/tmp"}  # noqa: S108  Beam's
    assert writable["bigquery"] == {"/tmp"}  # noqa: S108  the emulator's, and in memory
    assert writable["prometheus"] == {"/prometheus"}
    assert "--storage.tsdb.path=/prometheus" in SERVICES["prometheus"]["command"]


def test_files_that_are_mounted_are_there_and_stay_as_they_are():
    mounted = [mount for name in SERVICES for mount in mounts(name, "bind").values()]
    assert {mount["source"] for mount in mounted} == {
        "./dags",
        "./monitoring/prometheus",
        "./monitoring/grafana/provisioning",
        "./monitoring/grafana/dashboards",
    }
    for mount in mounted:
        assert (ROOT / mount["source"]).is_dir()
        assert mount["read_only"] is True


def test_airflow_finds_the_dags():
    assert mounts("airflow", "bind").keys() == {SERVICES["airflow"]["environment"]["AIRFLOW__CORE__DAGS_FOLDER"]}


def test_every_volume_is_declared_and_used():
    used = {mount["source"] for name in SERVICES for mount in mounts(name, "volume").values()}
    assert used == files.PROJECT["volumes"].keys()


def test_airflow_leaves_the_reports_where_they_are_shown():
    written, shown = mounts("airflow", "volume")["/reports"], mounts("reports", "volume")["/reports"]
    assert written["source"] == shown["source"]
    assert shown["read_only"] is True


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
