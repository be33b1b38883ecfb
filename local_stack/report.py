"""The report of a refresh on the console, and the next steps."""

import json

from rich.console import Console
from rich.table import Table

from local_stack.demo import MODEL
from local_stack.refresh import RefreshResult, task_table
from local_stack.stack import Stack
from prediction_store.details import Evaluation, GateDecision, SmokeTestResult, VersionDetails


def show(result: RefreshResult, console: Console) -> None:
    """Print the tasks of a refresh, its metrics and counts, the active version, and the lookups."""
    if result.record is None:
        console.rule(f"{result.model}: no version was opened")
        details = VersionDetails()
    else:
        console.rule(f"{result.model}, version {result.record['version']}: {result.record['status']}")
        details = result.record["details"]
    console.print(task_table(result.run, f"refresh_{result.model}"))
    if "quality_gate" in details:
        console.print(_metrics(details["metrics"], details["quality_gate"]))
    if "prediction_gate" in details:
        gate = details["prediction_gate"]
        console.print(f"Predictions: [b]{gate['outcome']}[/] {'; '.join(gate['reasons'])}".rstrip())
    if "counts" in details:
        counts = details["counts"]
        console.print(
            f"Export: [b]{counts['written']:,}[/] of {counts['predictions']:,} predictions written, "
            f"[b]{counts['unchanged']:,}[/] unchanged, [b]{counts['tombstones']:,}[/] tombstones"
        )
    if "smoke_test" in details:
        console.print(_smoke_test(details["smoke_test"]), soft_wrap=True)
    console.print(f"Active version: [b]{result.active or 'none yet'}[/]")
    if result.record is not None and result.record["status"] == "ready":
        version = result.record["version"]
        console.print(
            f"Ready: preview with ?version={version}, or run "
            f".venvs/local_stack/bin/foreserve promote {result.model} {version}",
            soft_wrap=True,
        )
    for lookup in result.lookups:
        prediction = json.dumps(lookup.answer.get("prediction", lookup.answer))
        console.print(f"  GET {lookup.url}  [b]{lookup.milliseconds:.1f} ms[/]  {prediction}", soft_wrap=True)


def next_steps(stack: Stack, console: Console) -> None:
    """Print the next steps with a running stack."""
    api, airflow = stack.url("api"), stack.url("airflow")
    steps = {
        "make demo": "load another week of purchases, and run a refresh",
        f"{api}/": f"look customers up (API: {api}/docs)",
        f"{api}/v1/entities/customer/00003/predictions": "look all models up for one customer, in one read",
        f"{airflow}/dags/refresh_{MODEL}": "see the DAG, its runs and logs",
        f"{airflow}/dags": "trigger refresh_expected_spend, refresh_customer_segment or refresh_next_products",
        "make new-pipeline NAME=...": "start a model of your own",
        "make refresh NAME=...": "run the refresh of a model, and report",
        ".venvs/local_stack/bin/foreserve --help": "list, compare, verify, promote, roll back or retire versions",
        "make down": "stop the stack; it keeps its data, which make clean forgets",
    }
    console.print("Next:")
    for step, purpose in steps.items():
        console.print(f"  {step:<64}{purpose}", soft_wrap=True, highlight=False)


def _metrics(metrics: Evaluation, gate: GateDecision) -> Table:
    champion = metrics.get("champion", {})
    breaches = f": {'; '.join(gate['reasons'])}" if gate["reasons"] else ""
    title = f"Quality gate: candidate {gate['outcome'].replace('_', ' ')}{breaches}"
    table = Table("Metric", "Candidate", "Champion", title=title)
    for name, value in metrics["candidate"].items():
        table.add_row(name, _number(value), _number(champion.get(name)))
    return table


def _number(metric: float | None) -> str:
    """Return a metric as text; "none" for None, which stands for NaN and infinity, too."""
    return "none" if metric is None else f"{metric:.4f}"


def _smoke_test(report: SmokeTestResult) -> str:
    verdict, own = report.get("verdict", "passed"), report.get("service_p99_ms")
    outcome = "" if verdict == "passed" else f"[b]{verdict}[/], "
    account = "" if own is None else f" ({own:.1f} ms by the service's own account)"
    return (
        f"Smoke test: {outcome}{report['requests']:,} lookups at {report['rate']:g}/s: p50 {report['p50_ms']:.1f} ms, "
        f"p95 {report['p95_ms']:.1f} ms, [b]p99 {report['p99_ms']:.1f} ms[/]{account}, objective "
        f"{report['objective_p99_ms']:g} ms, {report['errors']} errors, {report['mismatches']} wrong answers"
    )
