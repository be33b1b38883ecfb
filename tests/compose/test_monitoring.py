"""Prometheus scrapes the lookup service, and Grafana shows its metrics."""

import json
import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest
import yaml

from local_stack.stack import ROOT
from serving_api.app import create_app
from serving_api.settings import Settings
from tests.compose.files import SERVICES, mounts

GRAFANA = SERVICES["grafana"]["environment"]


def on_disk(service, path):
    """Return the file of the repository that is mounted at a path in a container, or None."""
    for target, mount in sorted(mounts(service, "bind").items(), reverse=True):
        if PurePosixPath(path).is_relative_to(target):
            return ROOT / mount["source"] / PurePosixPath(path).relative_to(target)
    return None


def listens(address):
    """Return True if a service of docker-compose.yaml has the port of `service:port`."""
    host, port = address.split(":")
    return int(port) in {published["target"] for published in SERVICES[host]["ports"]}


@pytest.fixture(scope="module")
def prometheus():
    (path,) = re.findall(r"--config\.file=(\S+)", " ".join(SERVICES["prometheus"]["command"]))
    return path, yaml.safe_load(on_disk("prometheus", path).read_text())


def provisioned(folder, entries):
    """Return the entries of all files in a folder of Grafana's provisioning."""
    files = on_disk("grafana", f"/etc/grafana/provisioning/{folder}").glob("*.yaml")
    return [entry for file in files for entry in yaml.safe_load(file.read_text())[entries]]


def test_prometheus_scrapes_the_metrics_of_the_service(prometheus):
    _, configuration = prometheus
    (job,) = configuration["scrape_configs"]
    (targets,) = job["static_configs"]
    assert targets["targets"] == ["api:8000"]
    assert all(listens(target) for target in targets["targets"])
    routes = create_app(Settings(project="p", instance="i")).openapi()["paths"]
    assert job.get("metrics_path", "/metrics") in routes


def test_prometheus_finds_its_rules(prometheus):
    path, configuration = prometheus
    assert configuration["rule_files"]
    for file in configuration["rule_files"]:
        assert on_disk("prometheus", PurePosixPath(path).parent / file).is_file()


def test_grafana_finds_prometheus(prometheus):
    _, configuration = prometheus
    (source,) = provisioned("datasources", "datasources")
    assert source["type"] == "prometheus"
    variable = source["url"].removeprefix("$")
    assert listens(urlsplit(GRAFANA[variable]).netloc)
    assert source["jsonData"]["timeInterval"] == configuration["global"]["scrape_interval"]


def test_grafana_finds_the_dashboard_and_opens_with_it():
    (provider,) = provisioned("dashboards", "providers")
    home = PurePosixPath(GRAFANA["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert home.parent == PurePosixPath(provider["options"]["path"])
    assert on_disk("grafana", home).is_file()


def test_the_dashboard_uses_the_data_source_of_grafana():
    (source,) = provisioned("datasources", "datasources")
    dashboard = json.loads(on_disk("grafana", GRAFANA["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).read_text())
    chosen = {v["name"]: v["query"] for v in dashboard["templating"]["list"] if v["type"] == "datasource"}
    assert chosen == {"datasource": source["type"]}  # Grafana takes its default data source of that type
    assert source["isDefault"]
    assert set(re.findall(r'"uid": "(\$?\{?\w+\}?)"', json.dumps(dashboard))) == {dashboard["uid"], "${datasource}"}


def test_visitors_of_grafana_may_only_look():
    assert GRAFANA["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert GRAFANA["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert GRAFANA["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert not any("PASSWORD" in name for name in GRAFANA)
