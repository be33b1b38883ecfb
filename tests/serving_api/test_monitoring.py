"""The dashboard, the alerts and their documents name the metrics of the running service, and no others."""

import json
import re
from collections import defaultdict
from pathlib import Path

import grpc
import promql_parser as promql
import pytest
import pytest_asyncio
import yaml
from prometheus_client.parser import text_string_to_metric_families

from prediction_store.lifecycle import ModelState
from serving_api.access.api_keys import new_key
from serving_api.settings import Settings
from tests.serving_api.conftest import VERSION

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "monitoring/grafana/dashboards/foreserve.json"
ALERTS = ROOT / "monitoring/prometheus/alerts.yaml"
RUNBOOK = ROOT / "docs/runbook.md"
OBSERVABILITY = ROOT / "docs/observability.md"

SCRAPED = {"instance", "job"}
"""The labels that Prometheus adds."""

OF_ALERTS = {"ALERTS": dict.fromkeys(("alertname", "alertstate", "severity"))}
"""The metric that Prometheus records by itself, and its labels."""

EQUAL, MATCHES = promql.MatchOp.Equal, promql.MatchOp.Re


class Measured:
    """All metrics of a service that has answered some requests."""

    def __init__(self, exposition):
        self.families = {f.name: f for f in text_string_to_metric_families(exposition)}
        self.samples = defaultdict(list)
        for family in self.families.values():
            for sample in family.samples:
                self.samples[sample.name].append(sample.labels)

    def labels(self, family):
        samples = self.families[family].samples
        return {label for sample in samples for label in sample.labels} - {"le"}


@pytest_asyncio.fixture
async def measured(wire, serve, tmp_path):
    wire.failing[b"bad"] = grpc.StatusCode.INTERNAL
    live = {"metrics": {"roc_auc": 0.7}, "held_out": {"roc_auc": 0.8}, "breaches": []}
    wire.documents["m"] = ModelState.from_json(wire.documents["m"]).note(VERSION, live=live).to_json()
    key = new_key()
    caller = {"name": "c", "keys": [{"id": key.id, "sha256": key.sha256}], "models": "all", "metrics": True}
    callers = tmp_path / "callers.json"
    callers.write_text(json.dumps({"callers": [caller]}))
    settings = {"cache_bytes": 100_000, "auth": "api_keys", "callers_file": callers}
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", **settings) as client:
        client.headers = {"x-api-key": key.key}
        for path in (
            "/v1/models/m/predictions/a",
            "/v1/models/m/predictions/bad",
            "/v1/entities/things/a/predictions",
            "/nowhere",
        ):
            await client.get(path)
        await client.batch("m", ["a", "b"])
        return Measured((await client.get("/metrics")).text)


def rules(kind):
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"] if kind in rule]


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def dashboard_expressions():
    dashboard = json.loads(DASHBOARD.read_text())
    written = [target["expr"] for panel in panels() for target in panel["targets"]]
    written += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    for expression in written:
        plain = expression.replace("$__rate_interval", "5m")
        assert set(re.findall(r"\$(\w+)", plain)) <= variables
        yield re.sub(r"\$\w+", ".*", plain)


def expressions():
    return [rule["expr"] for rule in rules("record") + rules("alert")] + list(dashboard_expressions())


def parts(expression):
    """The nodes of an expression."""
    found = []
    promql.walk(promql.parse(expression), found.append)
    return found


def named_labels(node):
    """The labels that a node groups or matches by."""
    match node:
        case promql.AggregateExpr(modifier=modifier) if modifier:
            return set(modifier.labels)
        case promql.BinaryExpr(modifier=modifier) if modifier and modifier.matching:
            return set(modifier.matching.labels)
    return set()


def holds(matcher, labels):
    value = labels.get(matcher.name, "")
    if matcher.op == EQUAL:
        return value == matcher.value
    assert matcher.op == MATCHES, f"{matcher.name}: teach this test that operator"
    return bool(re.fullmatch(matcher.value, value))


@pytest.mark.asyncio
async def test_every_metric_label_and_value_that_is_named_exists(measured):
    recorded = {rule["record"]: {**rule.get("labels", {})} for rule in rules("record")} | OF_ALERTS
    for expression in expressions():
        nodes = parts(expression)
        selectors = [n.vector_selector if isinstance(n, promql.MatrixSelector) else n for n in nodes]
        selectors = [n for n in selectors if isinstance(n, promql.VectorSelector)]
        assert selectors or "vector(" in expression, expression
        known = set(SCRAPED)
        for selector in selectors:
            if selector.name in recorded:
                known |= recorded[selector.name].keys()
                continue
            samples = measured.samples[selector.name]
            assert samples, f"{selector.name} in {expression} is not measured"
            known |= {label for labels in samples for label in labels}
            matchers = [m for m in selector.matchers.matchers if m.name not in SCRAPED]
            if "status" in {m.name for m in matchers}:
                assert "503" in {labels["status"] for labels in samples}
            assert any(all(holds(m, labels) for m in matchers) for labels in samples), f"nothing matches {expression}"
        unknown = {label for node in nodes for label in named_labels(node)} - known
        assert not unknown, f"{expression}: no metric in it has the labels {unknown}"


def test_every_rule_that_is_recorded_is_used():
    named = " ".join(expressions())
    assert {rule["record"] for rule in rules("record")} == set(re.findall(r"foreserve:[\w:]+", named))


@pytest.mark.asyncio
async def test_the_dashboard_shows_every_metric(measured):
    shown = " ".join(dashboard_expressions()) + " ".join(rule["expr"] for rule in rules("record"))
    for name in measured.families:
        assert name in shown, f"no panel shows {name}"


def test_panels_lie_side_by_side():
    cells = [
        (x, y)
        for panel in json.loads(DASHBOARD.read_text())["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["description"]
        assert panel["datasource"]["uid"] == "${datasource}"


def test_every_alert_says_what_it_means_and_has_a_section_in_the_runbook():
    alerts = RUNBOOK.read_text().split("\n## Alerts\n")[1].split("\n## ")[0]
    sections = re.split(r"^### ", alerts, flags=re.MULTILINE)[1:]
    by_anchor = {section.split("\n")[0].lower(): section for section in sections}
    for alert in rules("alert"):
        annotations = alert["annotations"]
        assert annotations["summary"]
        assert annotations["description"]
        document, anchor = annotations["runbook"].split("#")
        assert ROOT / document == RUNBOOK
        assert by_anchor[anchor].startswith(alert["alert"] + "\n")
        assert "**act**" in by_anchor[anchor].lower()
        assert alert["labels"]["severity"] in {"page", "ticket"}
    assert by_anchor.keys() == {alert["alert"].lower() for alert in rules("alert")}


def test_labels_in_the_texts_of_alerts_are_left_by_their_expressions():
    for alert in rules("alert"):
        labels = {label for node in parts(alert["expr"]) for label in named_labels(node)}
        if isinstance(promql.parse(alert["expr"]), promql.BinaryExpr) and not labels:
            labels = SCRAPED
        texts = " ".join(alert["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels, alert["alert"]


@pytest.mark.asyncio
async def test_the_documents_name_what_is_measured(measured):
    documented = {}
    lists = re.findall(r"^(Histogram|Counter|Gauge)s:\n\n((?:[- ] .*\n)+)", OBSERVABILITY.read_text(), re.MULTILINE)
    for kind, metrics in lists:
        for name, labels in re.findall(r"^- `(\w+)`(?: \((.+?)\))?:", metrics, re.MULTILINE):
            documented[name] = (kind.lower(), set(re.findall(r"`(\w+)`", labels)))
    assert documented == {name: (family.type, measured.labels(name)) for name, family in measured.families.items()}
    named = set(re.findall(r"`(foreserve_\w+)`", RUNBOOK.read_text() + OBSERVABILITY.read_text()))
    assert named == named & (documented.keys() | measured.samples.keys())


def test_the_runbook_names_panels_that_exist():
    quoted = set(re.findall(r'"([A-Z][^"]+)"', re.sub(r"\s+", " ", RUNBOOK.read_text())))
    assert quoted
    assert quoted <= {panel["title"] for panel in panels()}


@pytest.mark.parametrize("document", [RUNBOOK, OBSERVABILITY])
def test_settings_that_the_documents_name_exist(document):
    named = {name.lower() for name in re.findall(r"SERVING_(\w+)", document.read_text())}
    assert named
    assert named <= Settings.model_fields.keys()
