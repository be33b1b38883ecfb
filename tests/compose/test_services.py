"""The services of docker-compose.yaml are those of the local stack. They are confined and publish ports on loopback."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as bigquery_client

from local_stack.settings import INSTANCE, PROJECT, ROOT
from local_stack.stack import DEFAULT_PORTS, Stack
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
    f"127.0.0.1:{DEFAULT_PORTS['bigtable']}": "bigtable:8086",
    f"127.0.0.1:{DEFAULT_PORTS['bigquery']}": "bigquery:9050",
    f"127.0.0.1:{DEFAULT_PORTS['bigquery_storage']}": "bigquery:9060",
    f"127.0.0.1:{DEFAULT_PORTS['api']}": "api:8000",
}
"""Paths and addresses of the local stack, and the same in containers.

Airflow's own address stays, because only Airflow and the user's browser use it.
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
"""The ports for users: the variable in .env and the port in the container."""

ONLY_HERE = {"prepare", "prometheus", "grafana"}
ENDS = {"prepare"}  # it has no health check, because nothing uses it after its end

ANY_HOST = "0.0.0.0"  # noqa: S104  a container listens on all its addresses, and Docker publishes the port on loopback
ONLY_IN_PROCESSES = {
    "PATH",
    "SPT_NOENV",
    "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT",
    "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT",
}
ONLY_IN_CONTAINERS = {"api": {"SERVING_ALLOW_ANONYMOUS": "true"}, "airflow": {"AIRFLOW__API__HOST": ANY_HOST}}


def in_container(value):
    for here, there in IN_CONTAINERS.items():
        value = value.replace(here, there)
    return value


def leaves(value, path=""):
    """Return the values in a document, by their path."""
    match value:
        case dict():
            return {k: v for name, inner in value.items() for k, v in leaves(inner, f"{path}/{name}").items()}
        case list():
            return {k: v for n, inner in enumerate(value) for k, v in leaves(inner, f"{path}/{n}").items()}
    return {path: value}


def test_env_has_the_variables_of_the_file_and_no_other():
    text = (ROOT / "docker-compose.yaml").read_text()
    assert set(re.findall(r"\$\{?(\w+)", text)) == ENV.keys()


def test_has_the_services_of_the_local_stack():
    assert SERVICES.keys() == LOCAL.keys() | ONLY_HERE


@pytest.mark.parametrize("name", ["bigquery", "reports", "api", "airflow"])
def test_command_is_that_of_the_local_stack_with_a_host_that_other_containers_reach(name):
    program, *arguments = LOCAL[name].command
    expected = [Path(program).name, *(in_container(word).replace("127.0.0.1", ANY_HOST) for word in arguments)]
    command = SERVICES[name]["command"]
    if name == "bigquery":  # its default is loopback, on which the local stack relies
        command = [word for word in command if word not in {"--host", ANY_HOST}]
        assert expected[-2] == "--data-dir"  # containers keep no tables
        expected = expected[:-2]
    assert command == expected


def test_bigtable_is_googles_emulator():
    assert "google-cloud-cli:" in SERVICES["bigtable"]["image"]
    program, *options = SERVICES["bigtable"]["command"]
    assert Path(program).name == "cbtemulator"
    assert options == ["-host=0.0.0.0", f"-port={DEFAULT_PORTS['bigtable']}"]


@pytest.mark.parametrize("name", ["api", "airflow"])
def test_environment_is_that_of_the_local_stack_with_addresses_and_paths_of_containers(name):
    local = {k: in_container(v) for k, v in LOCAL[name].environment.items() if k not in ONLY_IN_PROCESSES}
    assert SERVICES[name]["environment"] == local | ONLY_IN_CONTAINERS[name]


def test_prepare_finds_the_emulators():
    emulators = {k: in_container(v) for k, v in STACK.client_environment().items() if k.endswith("_EMULATOR_HOST")}
    assert SERVICES["prepare"]["environment"] == emulators


def test_every_port_for_users_is_published_on_loopback():
    for name, service in SERVICES.items():
        published = {(port["host_ip"], port["published"], port["target"]) for port in service.get("ports", [])}
        expected = {("127.0.0.1", ENV[variable], port) for variable, port in PUBLISHED.get(name, {}).items()}
        assert published == expected


def test_a_port_in_the_shell_changes_the_published_port_and_the_links_for_users():
    other = {variable: str(int(port) + 10_000) for variable, port in ENV.items() if variable.endswith("_PORT")}
    here, moved = leaves(SERVICES), leaves(resolved(**other)["services"])
    links = {
        "/airflow/environment/AIRFLOW__API__BASE_URL": "AIRFLOW_PORT",
        "/airflow/environment/FORESERVE_REPORTS_URL": "REPORTS_PORT",
        "/grafana/environment/GF_SERVER_ROOT_URL": "GRAFANA_PORT",
        "/prometheus/command/2": "PROMETHEUS_PORT",
    }
    changed = {path for path in here if here[path] != moved[path] and not path.endswith("/published")}
    assert changed == links.keys()
    for path, variable in links.items():
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
def test_health_check_uses_the_url_that_the_local_stack_waits_for(name):
    assert f'"{LOCAL[name].ready_url}"' in SERVICES[name]["healthcheck"]["test"][-1]


def test_health_check_of_every_service_uses_one_of_its_ports():
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == ENDS
    for name, ports in PUBLISHED.items():
        checked = re.search(r"127\.0\.0\.1[:/](\d+)", SERVICES[name]["healthcheck"]["test"][-1])
        assert checked
        assert int(checked[1]) in ports.values()


@pytest.mark.parametrize("name", LOCAL)
def test_stop_signal_is_that_of_the_local_stack(name):
    assert SERVICES[name].get("stop_signal", "SIGTERM") == ("SIGINT" if LOCAL[name].interrupt else "SIGTERM")


def test_services_wait_until_others_are_healthy_or_have_ended():
    for service in SERVICES.values():
        for awaited, wait in service.get("depends_on", {}).items():
            condition = "service_completed_successfully" if awaited in ENDS else "service_healthy"
            assert wait["condition"] == condition


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_confined(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"cap_add", "devices", "ipc", "network_mode", "pid", "privileged", "userns_mode"}


@pytest.mark.parametrize("name", SERVICES)
def test_service_does_not_run_as_root(name):
    images = {SERVICES[built].get("image"): dockerfile for built, dockerfile in BUILT.items()}
    dockerfile = BUILT.get(name) or images.get(SERVICES[name].get("image"))
    user = instructions(dockerfile, "USER")[-1] if dockerfile else SERVICES[name]["user"].split(":")[0]
    assert int(user) > 0


def test_written_files_have_a_place_outside_the_image():
    writable = {
        name: {entry.split(":")[0] for entry in service.get("tmpfs", [])}
        | {target for target, mount in mounts(name, "volume").items() if not mount.get("read_only")}
        for name, service in SERVICES.items()
    }
    airflow = SERVICES["airflow"]["environment"]
    assert writable["airflow"] == {airflow["AIRFLOW_HOME"], airflow["FORESERVE_REPORTS"], "/tmp"}  # noqa: S108  Beam's
    assert writable["bigquery"] == {"/tmp"}  # noqa: S108  the tables of the emulator
    assert writable["prometheus"] == {"/prometheus"}
    assert "--storage.tsdb.path=/prometheus" in SERVICES["prometheus"]["command"]


def test_mounted_files_exist_and_are_read_only():
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


def test_airflow_writes_the_reports_to_the_volume_that_is_served():
    written, served = mounts("airflow", "volume")["/reports"], mounts("reports", "volume")["/reports"]
    assert written["source"] == served["source"]
    assert served["read_only"] is True


def test_prepare_creates_the_registry_and_loads_purchases(bigtable, bigquery):
    program, *arguments = SERVICES["prepare"]["command"]
    assert program == "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    output = subprocess.check_output([sys.executable, *arguments], env=environment, text=True)
    client = bigquery_client.Client(PROJECT, credentials=AnonymousCredentials())
    rows = next(iter(client.query_and_wait("SELECT COUNT(*) FROM shop.transactions")))[0]
    assert rows > 0
    assert output.startswith(f"{rows:,} purchases loaded")
    assert Registry(Instance(PROJECT, INSTANCE)).find("a_model_without_versions") is None
