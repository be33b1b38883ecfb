"""What is in monitoring/, run by Prometheus itself."""

import json
import re
from contextlib import ExitStack
from urllib.parse import urlsplit

import yaml

from local_stack.servers import ROOT

RULES = [
    rule
    for group in yaml.safe_load((ROOT / "monitoring/prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
NAMES = {rule.get("record", rule.get("alert")) for rule in RULES}
DASHBOARD = json.loads((ROOT / "monitoring/grafana/dashboards/foreserve.json").read_text())


def expressions():
    """Of all panels, with Grafana's variables as Grafana fills them in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield re.sub(r"\$\w+", ".*", target["expr"].replace("$__rate_interval", "1m"))


def test_prometheus_accepts_the_configuration(promtool):
    said = promtool("check", "config", "prometheus.yaml")
    assert f"{len(RULES)} rules found" in said


def test_alerts_fire_on_what_they_are_for(promtool):
    promtool("test", "rules", ROOT / "tests" / "monitoring" / "alerts.yaml")


def test_every_alert_is_tried():
    tried = (ROOT / "tests" / "monitoring" / "alerts.yaml").read_text()
    assert set(re.findall(r'alertname="(\w+)"', tried)) == {rule["alert"] for rule in RULES if "alert" in rule}


def test_a_service_is_watched_until_it_is_gone(store, serve, watch, eventually):
    model = store.model()
    version = store.refresh(model, {"a": b"{}"})
    with ExitStack() as running:
        url = running.enter_context(serve())
        with watch(url) as prometheus:
            eventually(lambda: prometheus.targets() == {("foreserve", urlsplit(url).netloc): "up"})
            served = f'max(foreserve_served_version{{model="{model}"}})'
            eventually(lambda: prometheus.query(served) == [({}, version)])
            eventually(lambda: prometheus.rules() == dict.fromkeys(NAMES, "ok"))
            eventually(lambda: prometheus.query("ALERTS") == [])
            for expression in expressions():
                prometheus.query(expression)  # raises where Prometheus does not understand it
            running.close()
            gone = {"alertname": "ForeserveGone", "alertstate": "pending", "severity": "page"}
            eventually(lambda: any(gone.items() <= labels.items() for labels, _ in prometheus.query("ALERTS")))
