"""The files of monitoring/, run by Prometheus itself."""

import json
import re
from contextlib import ExitStack
from urllib.parse import urlsplit

import yaml

from local_stack.servers import ROOT
from tests.servers import service
from tests.waiting import wait_for

RULES = [
    rule
    for group in yaml.safe_load((ROOT / "monitoring/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES = {rule.get("record", rule.get("alert")) for rule in RULES}
DASHBOARD = json.loads((ROOT / "monitoring/grafana/dashboards/foreserve.json").read_text())


def expressions():
    """The expressions of all panels, with Grafana's variables as Grafana fills them in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "1m"))


def test_prometheus_accepts_the_configuration(promtool):
    said = promtool("check", "config", "prometheus.yaml")
    assert f"{len(RULES)} rules found" in said


def test_each_alert_fires_on_its_condition(promtool):
    promtool("test", "rules", ROOT / "tests" / "monitoring" / "alerts.yaml")


def test_every_alert_is_tried():
    tried = (ROOT / "tests" / "monitoring" / "alerts.yaml").read_text()
    assert set(re.findall(r'alertname="(\w+)"', tried)) == {rule["alert"] for rule in RULES if "alert" in rule}


def test_a_service_is_watched_until_it_is_gone(store, watch):
    model = store.model()
    version = store.refresh(model, {"a": b"{}"})
    with ExitStack() as running:
        url = running.enter_context(service(store.address))
        with watch(url) as prometheus:
            wait_for(lambda: prometheus.targets() == {("foreserve", urlsplit(url).netloc): "up"})
            served = f'max(foreserve_active_version{{model="{model}"}})'
            wait_for(lambda: prometheus.query(served) == [({}, version)])
            wait_for(lambda: prometheus.rules() == dict.fromkeys(NAMES, "ok"))
            wait_for(lambda: prometheus.query("ALERTS") == [])
            for expression in expressions():
                prometheus.query(expression)  # raises an error if the expression is invalid
            running.close()
            gone = {"alertname": "ForeserveGone", "alertstate": "pending", "severity": "page"}
            wait_for(lambda: any(gone.items() <= labels.items() for labels, _ in prometheus.query("ALERTS")))
