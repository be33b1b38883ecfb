"""Measure whole refreshes of `repeat_purchase`, from BigQuery to Bigtable, by entities and by the share that changed.

benchmarks/README.md explains the figures.
"""

import json
import math
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import psutil
from google.cloud import bigquery
from rich.console import Console

from benchmarks.document import short
from benchmarks.processes import Usages
from benchmarks.results import FOLDER, conditions, keep
from local_stack import processes, sample_data
from local_stack.settings import ROOT
from local_stack.stack import Stack, choose_ports

ENTITIES = (1_000, 100_000)
CHANGED = (0.0, 0.01, 0.1, 1.0)
"""The shares of entities whose data change before the refreshes that follow the first one."""

_CUSTOMERS = 23_570  # in the sample data
CONF = {"override_gates": True, "reason": "benchmark", "smoke_test_objective_p99_ms": 10_000}
"""So much changes that the gates would stop, and the machine is busy with everything at once."""

_TASKS = ("-m", "benchmarks.refresh.run")
_STORES = ("bigquery", "bigtable")
_WORTH_A_LINE = 0.1  # seconds


@dataclass(frozen=True, slots=True)
class TaskCost:
    """The cost of a task.

    Attributes:
        seconds: its time.
        cpu_seconds: the CPU time of the task and of the processes that it started.
        peak_mib: the largest resident memory of one of these processes.
        bigquery_seconds: the CPU time of BigQuery's emulator meanwhile.
        bigtable_seconds: the CPU time of Bigtable's emulator meanwhile.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    bigquery_seconds: float
    bigtable_seconds: float


@dataclass(frozen=True, slots=True)
class Measured:
    """A refresh.

    Attributes:
        entities: the number of entities.
        changed: the share of them that changed since the refresh before; None for the first refresh, which trains.
        tasks: the cost of each task.
        stores_mib: the largest resident memory of each emulator.
    """

    entities: int
    changed: float | None
    tasks: dict[str, TaskCost]
    stores_mib: dict[str, float]

    @property
    def seconds(self) -> float:
        """The time of all tasks, one after the other."""
        return sum(task.seconds for task in self.tasks.values())

    @property
    def peak_mib(self) -> float:
        """The largest resident memory of a process, without the emulators."""
        return max(task.peak_mib for task in self.tasks.values())

    @property
    def name(self) -> str:
        """The name of the refresh in the results."""
        return f"{self.entities} entities, {'first' if self.changed is None else f'{self.changed:.0%} changed'}"


def main() -> None:
    """Run the command. Exits with an error if a refresh fails."""
    parser = ArgumentParser(prog="python -m benchmarks.refresh", description=__doc__)
    parser.add_argument("--entities", type=int, nargs="+", default=ENTITIES, help="numbers (default %(default)s)")
    parser.add_argument("--changed", type=float, nargs="*", default=CHANGED, help="shares (default %(default)s)")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results (default %(default)s)")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True)
    for entities in arguments.entities:
        found = conditions()
        for refresh in refreshes(entities, arguments.changed, console):
            console.print(report(refresh))
            keep("refresh", {refresh.name: {**asdict(refresh), "conditions": found}}, arguments.results)


def refreshes(entities: int, shares: Sequence[float], console: Console) -> Iterator[Measured]:
    """Yield the first refresh of a number of entities, and those after shares of them changed, on new stores."""
    with _stack() as (environment, stores):
        client = sample_data.warehouse()
        console.print(f"{entities:,} entities: writing their purchases ...")
        write_purchases(client, entities)
        yield _refresh(entities, None, environment, stores)
        for changed in shares:
            change(client, changed)
            yield _refresh(entities, changed, environment, stores)


@contextmanager
def _stack() -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """The local stack without Airflow; yields the environment of Airflow's processes, and the emulators' processes."""
    with TemporaryDirectory() as folder:
        stack = Stack(ports=choose_ports(), state=Path(folder))
        with started_stores(stack) as stores:
            environment = {**os.environ, **stack.services()[-1].environment}
            environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "dags"), str(ROOT / "plugins")])
            _run([str(Path(sys.executable).with_name("airflow")), "db", "migrate"], environment, {})
            yield environment, stores


@contextmanager
def started_stores(stack: Stack) -> Iterator[dict[str, int]]:
    """Start the services of a stack but Airflow, with the sample's first purchases; yields the emulators' processes."""
    services = stack.services()[:-1]
    started = [(service, processes.start(service, stack.state)) for service in services]
    os.environ.update(stack.client_environment())
    try:
        for service, process in started:
            processes.wait_until_ready(service, process, stack.state)
        sample_data.prepare()
        yield {service.name: process.pid for service, process in started if service.name in _STORES}
    finally:
        # They are not asked to end, because Bigtable would write its tables to disk first.
        for each in chain.from_iterable(processes.running(stack.state).values()):
            with suppress(psutil.NoSuchProcess):
                each.kill()
        for _, process in started:
            process.wait()


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
    """Give a share of the customers one purchase more, before all of theirs, so that their predictions change."""
    client.query_and_wait(
        f"""
        INSERT INTO shop.transactions (customer_id, order_date, quantity, amount_usd)
        SELECT customer_id, DATE_SUB(MIN(MIN(order_date)) OVER (), INTERVAL 1 DAY), 1, 10.0
        FROM shop.transactions
        GROUP BY customer_id
        HAVING MOD(CAST(customer_id AS INT64) * 7919, 1000) < {round(share * 1000)}
        """
    )


def _refresh(entities: int, changed: float | None, environment: dict[str, str], stores: dict[str, int]) -> Measured:
    """Run a refresh.

    Raises:
        SystemExit: it failed.
    """
    conf = {**CONF, "retrain": changed is None}
    output, usages = _run([sys.executable, *_TASKS, json.dumps(conf)], environment, stores)
    ended = json.loads(output.splitlines()[-1])
    if ended["state"] != "success":
        sys.exit(f"{output[-10_000:]}\nThe refresh of {entities:,} entities: {ended['state']}")
    tasks = {}
    for task, (start, end) in ended["times"].items():
        own = usages.between("tasks", start, end)
        used = [usages.between(store, start, end).cpu_seconds for store in _STORES]
        tasks[task] = TaskCost(end - start, own.cpu_seconds, own.largest_mib, *used)
    memory = {store: usages.between(store, 0, math.inf).largest_mib for store in stores}
    return Measured(entities, changed, tasks, memory)


def _run(command: list[str], environment: dict[str, str], stores: dict[str, int]) -> tuple[str, Usages]:
    """Run a command; return its output, and the samples of its processes ("tasks") and of the emulators.

    Raises:
        SystemExit: it failed.
    """
    with (
        TemporaryFile("w+") as output,
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as process,  # noqa: S603  our own commands
        Usages({**stores, "tasks": process.pid}) as usages,
    ):
        code = process.wait()
        output.seek(0)
        text = output.read()
    if code:
        sys.exit(f"{text[-10_000:]}\n{' '.join(command)}: exit code {code}")
    return text, usages


def report(refresh: Measured) -> str:
    """The costs of a refresh in lines of text, those of tasks of at least a tenth of a second."""
    lines = [f"{refresh.name}: {short(refresh.seconds)} s, at most {short(refresh.peak_mib)} MiB in a process"]
    for name, task in refresh.tasks.items():
        if task.seconds > _WORTH_A_LINE:
            costs = ", ".join(f"{field} {short(value)}" for field, value in asdict(task).items())
            lines.append(f"  {name}: {costs}")
    lines.append(f"  emulators: {', '.join(f'{name} {short(mib)} MiB' for name, mib in refresh.stores_mib.items())}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
