"""The report of a refresh, on the console."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from local_stack.demo import MODEL, Outcome, task_table
from local_stack.stack import Stack


def show(outcome: Outcome, console: Console) -> None:
    """Print what the refresh did, what it measured, and what is served now."""
    if outcome.record is None:
        console.rule(f"{MODEL}: no version was opened")
        details = {}
    else:
        console.rule(f"{MODEL}, version {outcome.record['version']}: {outcome.record['status']}")
        details = outcome.record["details"]
    console.print(task_table(outcome.run))
    if "gate" in details:
        console.print(_metrics(details["metrics"], details["gate"]))
    if "checks" in details:
        checks = details["checks"]
        console.print(f"Predictions: [b]{checks['outcome']}[/] {'; '.join(checks['reasons'])}".rstrip())
    if "counts" in details:
        counts = details["counts"]
        console.print(
            f"Export: [b]{counts['written']:,}[/] of {counts['predictions']:,} predictions written, "
            f"[b]{counts['unchanged']:,}[/] unchanged, [b]{counts['tombstones']:,}[/] tombstones"
        )
    if "smoke_test" in details:
        console.print(_smoke_test(details["smoke_test"]))
    console.print(f"Readers are at version [b]{outcome.active or 'none yet'}[/]")
    for lookup in outcome.lookups:
        prediction = json.dumps(lookup.answer.get("prediction", lookup.answer))
        console.print(f"  GET {lookup.path}  [b]{lookup.milliseconds:.1f} ms[/]  {prediction}", soft_wrap=True)


def next_steps(stack: Stack, console: Console, *, keeps_running: bool) -> None:
    """Say where to look next."""
    if not keeps_running:
        console.print("Next: [b]make up[/] keeps the stack running, with Airflow's UI and the service's page.")
        return
    console.print("Next:")
    console.print(f"  {stack.url('api')}/       look customers up (API: {stack.url('api')}/docs)", soft_wrap=True)
    console.print(f"  {stack.url('airflow')}/dags/refresh_{MODEL}   the DAG, its runs and logs", soft_wrap=True)
    console.print("  make demo    another week of purchases, and another refresh")
    console.print(
        "  in Airflow   refresh_expected_spend, refresh_customer_segment: more models of the same customers",
        soft_wrap=True,
    )
    console.print(
        f"  {stack.url('api')}/v1/entities/customer/00003/predictions   all of a customer's, in one read",
        soft_wrap=True,
    )
    console.print("  make new-pipeline NAME=...   a model of your own")
    console.print("  make down    stop everything")


def _metrics(metrics: dict[str, dict[str, float]], gate: dict[str, Any]) -> Table:
    champion = metrics.get("champion", {})
    broken = f": {'; '.join(gate['reasons'])}" if gate["reasons"] else ""
    title = f"Quality gate: candidate {gate['outcome'].replace('_', ' ')}{broken}"
    table = Table("Metric", "Candidate", "Champion", title=title)
    for name, value in metrics["candidate"].items():
        table.add_row(name, f"{value:.4f}", f"{champion[name]:.4f}" if name in champion else "none yet")
    return table


def _smoke_test(report: dict[str, Any]) -> str:
    return (
        f"Smoke test: {report['requests']:,} lookups at {report['rate']:g}/s: p50 {report['p50_ms']:.1f} ms, "
        f"p95 {report['p95_ms']:.1f} ms, [b]p99 {report['p99_ms']:.1f} ms[/] (objective "
        f"{report['objective_p99_ms']:g} ms), {report['errors']} errors, {report['mismatches']} wrong answers"
    )
