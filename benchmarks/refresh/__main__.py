"""Measure whole refreshes of `repeat_purchase`, from BigQuery to Bigtable, by entities and by the share that changed.

benchmarks/README.md explains the figures.
"""

import json
import math
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from google.cloud import bigquery
from rich.console import Console

from benchmarks.document import filled, markdown_table, short
from local_stack import processes, sample_data
from local_stack.settings import ROOT
from local_stack.stack import Stack, choose_ports

ENTITIES = (1_000, 100_000, 1_000_000)
CHANGED = (0.0, 0.01, 0.1, 1.0)
"""The shares of entities whose data change before the refreshes that follow the first one."""

SHOWN = ("train", "predict", "measure", "changes", "export", "smoke_test")
"""The tasks that have columns of their own in the table."""

_CUSTOMERS = 23_570  # in the sample data
_CONF = {"override_gates": True, "reason": "benchmark", "smoke_test_objective_p99_ms": 10_000}
"""So much changes that the gates would stop, and the machine is busy with everything at once."""

_TASKS = ("-m", "benchmarks.refresh.run")


@dataclass(frozen=True, slots=True)
class Measured:
    """A refresh.

    Attributes:
        entities: the number of entities.
        changed: the share of them that changed since the refresh before; None for the first refresh, which trains.
        tasks: the time of each task in seconds.
        peak_mib: the largest resident memory of the process and of those that it started.
    """

    entities: int
    changed: float | None
    tasks: dict[str, float]
    peak_mib: float


def main() -> None:
    """Run the command. Exits with an error if a refresh fails."""
    parser = ArgumentParser(prog="python -m benchmarks.refresh", description=__doc__)
    parser.add_argument("--entities", type=int, nargs="+", default=ENTITIES, help="numbers (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements to FILE")
    parser.add_argument("--write", type=Path, metavar="FILE", help="document whose marked table is replaced")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True)
    measured: list[Measured] = []
    for entities in arguments.entities:
        for refresh in refreshes(entities, console):
            measured.append(refresh)
            console.print("  ".join(cells(refresh)))
    table = markdown_table(head(), map(cells, measured), align="---:")
    console.print(f"\n<!-- refresh: sizes -->\n{table}\n<!-- end -->", markup=False)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(refresh) for refresh in measured], indent=2) + "\n")
    if arguments.write:
        arguments.write.write_text(filled(arguments.write.read_text(), "refresh", {"sizes": table}))


def refreshes(entities: int, console: Console) -> Iterator[Measured]:
    """Yield the first refresh of a number of entities, and those after a share of them changed, on new stores."""
    with _stack() as environment:
        client = sample_data.warehouse()
        console.print(f"{entities:,} entities: writing their purchases ...")
        write_purchases(client, entities)
        yield _refresh(entities, None, environment)
        for changed in CHANGED:
            change(client, changed)
            yield _refresh(entities, changed, environment)


@contextmanager
def _stack() -> Iterator[dict[str, str]]:
    """The local stack without Airflow; yields the environment of Airflow's processes."""
    with TemporaryDirectory() as folder:
        stack = Stack(ports=choose_ports(), state=Path(folder))
        *services, airflow = stack.services()
        started = [(service, processes.start(service, stack.state)) for service in services]
        os.environ.update(stack.client_environment())
        try:
            for service, process in started:
                processes.wait_until_ready(service, process, stack.state)
            sample_data.prepare()
            environment = {**os.environ, **airflow.environment}
            environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "dags"), str(ROOT / "plugins")])
            _run([str(Path(sys.executable).with_name("airflow")), "db", "migrate"], environment)
            yield environment
        finally:
            for service in services:
                processes.stop(service, stack.state)


def write_purchases(client: bigquery.Client, entities: int) -> None:
    """Replace the sample's customers by copies of them, as many as there are to be entities."""
    client.query_and_wait(
        f"""
        CREATE OR REPLACE TABLE shop.transactions AS
        SELECT FORMAT('%09d', copy * {_CUSTOMERS} + number) AS customer_id, order_date, quantity, amount_usd
        FROM (SELECT *, DENSE_RANK() OVER (ORDER BY customer_id) - 1 AS number FROM shop.transactions)
        CROSS JOIN UNNEST(GENERATE_ARRAY(0, {math.ceil(entities / _CUSTOMERS) - 1})) AS copy
        WHERE copy * {_CUSTOMERS} + number < {entities}
        """
    )


def change(client: bigquery.Client, share: float) -> None:
    """Change the purchases of a share of the customers."""
    client.query_and_wait(
        f"""
        UPDATE shop.transactions SET amount_usd = amount_usd * 1.5 + 1
        WHERE MOD(CAST(customer_id AS INT64) * 7919, 1000) < {round(share * 1000)}
        """
    )


def _refresh(entities: int, changed: float | None, environment: dict[str, str]) -> Measured:
    """Run a refresh.

    Raises:
        SystemExit: it failed.
    """
    conf = {**_CONF, "retrain": changed is None}
    output = _run([sys.executable, *_TASKS, json.dumps(conf)], environment)
    report = json.loads(output.splitlines()[-1])
    if report["state"] != "success":
        sys.exit(f"{output[-10_000:]}\nThe refresh of {entities:,} entities: {report['state']}")
    return Measured(entities, changed, report["seconds"], report["peak_mib"])


def _run(command: list[str], environment: dict[str, str]) -> str:
    """Run a command, and return its output.

    Raises:
        SystemExit: it failed.
    """
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  our own commands
    if ended.returncode:
        sys.exit(f"{ended.stdout[-5000:]}{ended.stderr[-5000:]}\n{' '.join(command)}: exit code {ended.returncode}")
    return ended.stdout


def head() -> list[str]:
    """The titles of the table."""
    return ["entities", "changed", "all tasks s", *(f"{task} s" for task in SHOWN), "others s", "peak MiB"]


def cells(refresh: Measured) -> list[str]:
    """The row of a refresh in the table."""
    others = sum(seconds for task, seconds in refresh.tasks.items() if task not in SHOWN)
    shown = [short(refresh.tasks[task]) if task in refresh.tasks else "-" for task in SHOWN]
    changed = "first" if refresh.changed is None else f"{refresh.changed:.0%}"
    return [
        f"{refresh.entities:,}",
        changed,
        short(sum(refresh.tasks.values())),
        *shown,
        short(others),
        short(refresh.peak_mib),
    ]


if __name__ == "__main__":
    main()
