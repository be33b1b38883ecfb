"""The stack of docker-compose.yaml while it runs. `make test-docker` starts it and runs these tests."""

import json
import subprocess

import httpx
import pytest
from rich.console import Console

from local_stack.demo import refresh
from local_stack.stack import DEFAULT_PORTS, ROOT, Stack
from tests.prometheus import Prometheus
from tests.waiting import wait_for

PROMETHEUS, GRAFANA = "http://127.0.0.1:9090", "http://127.0.0.1:3000"


def compose(*arguments):
    return subprocess.check_output(["docker", "compose", *arguments], cwd=ROOT, text=True)  # noqa: S607  the Docker of the machine


def containers():
    return {(c := json.loads(line))["Service"]: c for line in compose("ps", "--all", "--format", "json").splitlines()}


def test_every_service_is_healthy():
    states = {name: container["Health"] for name, container in containers().items() if name != "prepare"}
    assert states
    assert set(states.values()) == {"healthy"}
    assert containers()["prepare"]["ExitCode"] == 0


def test_no_service_runs_as_root():
    for name in containers().keys() - {"prepare"}:
        assert int(compose("exec", "-T", name, "id", "-u")) > 0


def test_a_refresh_is_served(tmp_path, monkeypatch):
    stack = Stack(ports=DEFAULT_PORTS, state=tmp_path)
    for name, value in stack.client_environment().items():
        monkeypatch.setenv(name, value)
    result = refresh(stack, Console(), {})
    assert result.run.state == "success"
    assert [lookup.answer["version"] for lookup in result.lookups] == [result.active] * 3


def test_prometheus_watches_the_service():
    prometheus = Prometheus(PROMETHEUS)
    assert prometheus.targets() == {("foreserve", "api:8000"): "up"}
    wait_for(lambda: set(prometheus.rules().values()) == {"ok"})


def test_grafana_shows_the_dashboard_and_the_alerts_without_a_login():
    source = {"uid": "prometheus", "type": "prometheus"}
    query = {"refId": "A", "datasource": source, "expr": "foreserve_build_info", "instant": True}
    with httpx.Client(base_url=f"{GRAFANA}/api", timeout=10) as grafana:
        assert grafana.get("/dashboards/uid/foreserve").raise_for_status().json()["meta"]["provisioned"]
        answer = grafana.post("/ds/query", json={"queries": [query], "from": "now-5m", "to": "now"})
        assert answer.raise_for_status().json()["results"]["A"]["frames"][0]["data"]["values"]
        rules = grafana.get("/prometheus/prometheus/api/v1/rules").raise_for_status().json()
        assert "foreserve-alerts" in {group["name"] for group in rules["data"]["groups"]}


@pytest.mark.parametrize("path", ["/api/admin/settings", "/api/datasources", "/api/users"])
def test_grafana_refuses_administration(path):
    assert httpx.get(f"{GRAFANA}{path}", auth=("admin", "admin")).status_code in {401, 403}
