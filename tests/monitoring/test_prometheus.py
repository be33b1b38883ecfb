"""The files of monitoring/, run by Prometheus itself."""

import json
import re
import subprocess
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
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


@pytest.fixture(scope="module")
def judged():
    """The two queries by which a deployment compares a new revision with the old one: of errors and of latency."""
    script = (ROOT / "deployment" / "deploy").read_text()
    (function,) = re.findall(r"^watch_revisions\(\) \{\n.+?^\}", script, re.MULTILINE | re.DOTALL)
    limits = re.findall(r"^(?:fewest|most_errors|slowest)=\S+", script, re.MULTILINE)
    stand_ins = 'measure() { echo "$1" >&2; }; sleep() { :; }; service=api new=new old=old apply=1 watch=1'
    command = "\n".join([function, *limits, stand_ins, "watch_revisions"])
    done = subprocess.run(["/usr/bin/env", "bash", "-euc", command], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("requests", "failed", "slow_new", "slow_old", "refused"),
    [
        (100, 0, 0, 0, []),
        (100, 0.5, 0, 0, []),
        (100, 2, 0, 0, ["errors"]),
        (1, 1, 0, 0, []),  # too few to judge by
        (100, 0, 50, 10, ["latency"]),
        (100, 0, 50, 90, []),  # the old one is as slow
        (100, 0, 50, None, ["latency"]),  # the old one has no requests any more
        (1, 0, 1, 0, []),
    ],
)
def test_a_deployment_refuses_a_revision_with_more_errors_or_latency(
    promtool, judged, tmp_path, requests, failed, slow_new, slow_old, refused
):
    """Counts are per minute. A slow request takes up to 400 ms, the others up to 50 ms."""
    metric = "run_googleapis_com:request"
    series = []
    for revision, count, slow in (("new", requests, slow_new), ("old", 1000, slow_old)):
        if slow is not None:
            of = f'service_name="api",revision_name="{revision}"'
            for code, number in (("2xx", count - failed), ("5xx", failed)):
                series.append((f'{metric}_count{{{of},response_code_class="{code}"}}', number))
            for limit, number in (("50", count - slow), ("400", count), ("+Inf", count)):
                series.append((f'{metric}_latencies_bucket{{{of},le="{limit}"}}', number))
    expressions = [
        {"expr": f"count({query}) or vector(0)", "eval_time": "9m", "exp_samples": [{"value": int(kind in refused)}]}
        for kind, query in zip(("errors", "latency"), judged, strict=True)
    ]
    inputs = [{"series": name, "values": f"0+{number}x20"} for name, number in series]
    file = tmp_path / "revisions.yaml"
    file.write_text(
        yaml.safe_dump({"tests": [{"interval": "1m", "input_series": inputs, "promql_expr_test": expressions}]})
    )
    promtool("test", "rules", file)


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
