"""Measure Airflow's share, by version: parsing by number of pipelines, and a refresh with and without the scheduler.

benchmarks/README.md explains the figures.
"""

import json
import os
import shutil
import sqlite3
import subprocess
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from benchmarks.document import short
from benchmarks.processes import Usages
from benchmarks.refresh.__main__ import CONF, started_stores
from benchmarks.results import FOLDER, conditions, keep
from local_stack import processes, sample_data
from local_stack.settings import ROOT
from local_stack.stack import Stack, choose_ports

VERSIONS = {"2.11": "airflow-2.11", "3.1": "airflow-3.1", "newest": "airflow"}
"""The folder of each version's environment in `.venvs`."""

PIPELINES = (1, 10, 100)

_MODEL = "repeat_purchase"
_DAG_ID = f"refresh_{_MODEL}"
_SCHEDULED = "benchmark"
_CONF = {**CONF, "smoke_test_requests": 100}  # a second instead of ten
_POLL_SECONDS = 0.5
_LOG_CHARACTERS = 3_000
_TIMEOUT_SECONDS = 240.0


@dataclass(frozen=True, slots=True)
class Parsing:
    """The cost of a DAG processor that starts, parses each file once, and ends.

    Attributes:
        pipelines: the number of pipelines, each with a file of its own.
        seconds: the time.
        cpu_seconds: the CPU time of all its processes.
        all_mib: the largest resident memory of all its processes together; what they share is counted in each.
    """

    pipelines: int
    seconds: float
    cpu_seconds: float
    all_mib: float


@dataclass(frozen=True, slots=True)
class Share:
    """The times of the same refresh without and with Airflow's scheduler, in seconds.

    Attributes:
        direct: the time of each task by `dag.test()`, all in one process.
        scheduled: the time of each task in a process of its own.
        waits: the time from the end of the task before to the start of each task.
        run: the time of the whole run.
    """

    direct: dict[str, float]
    scheduled: dict[str, float]
    waits: dict[str, float]
    run: float

    @property
    def added(self) -> float:
        """The seconds that Airflow adds."""
        return self.run - sum(self.direct.values())


def main() -> None:
    """Run the command. Exits with an error if a version cannot parse or refresh."""
    parser = ArgumentParser(prog="python -m benchmarks.airflow", description=__doc__)
    parser.add_argument("--versions", nargs="+", choices=VERSIONS, default=VERSIONS, help="default: all")
    parser.add_argument("--pipelines", type=int, nargs="+", default=PIPELINES, help="numbers (default %(default)s)")
    parser.add_argument("--parts", nargs="+", choices=("parsing", "refresh"), default=("parsing", "refresh"))
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results (default %(default)s)")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True)
    for version in arguments.versions:
        airflow = ROOT / ".venvs" / VERSIONS[version] / "bin" / "airflow"
        found = conditions(airflow=_output([str(airflow), "version"], os.environ).split()[-1])
        if "parsing" in arguments.parts:
            parsings = [parse(airflow, pipelines) for pipelines in arguments.pipelines]
            for parsing in parsings:
                console.print(f"{version}: {', '.join(f'{k} {short(v)}' for k, v in asdict(parsing).items())}")
            document = {"pipelines": [asdict(parsing) for parsing in parsings], "conditions": found}
            keep("airflow", {f"parsing, {version}": document}, arguments.results)
        if "refresh" in arguments.parts:
            share = refresh(airflow)
            console.print(f"{version}: a run {short(share.run)} s, of which Airflow adds {short(share.added)} s")
            for task, seconds in share.scheduled.items():
                wait, direct = short(share.waits[task]), short(share.direct.get(task, 0))
                console.print(f"  {task}: after {wait} s, {short(seconds)} s instead of {direct} s")
            keep("airflow", {f"refresh, {version}": {**asdict(share), "conditions": found}}, arguments.results)


def parse(airflow: Path, pipelines: int) -> Parsing:
    """Run a DAG processor on copies of a pipeline.

    Raises:
        CalledProcessError: it failed.
    """
    with TemporaryDirectory() as folder:
        home = Path(folder)
        _copy_pipelines(home / "dags", pipelines)
        stack = Stack(ports=choose_ports(), state=home)
        environment = {**_environment(stack, airflow), "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags")}
        _output([str(airflow), "db", "migrate"], environment)
        started = time.time()
        with (
            subprocess.Popen(  # noqa: S603  our own command
                _processor(airflow, home / "dags"),
                env=environment,
                cwd=home,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process,
            Usages({"processor": process.pid}) as usages,
        ):
            process.wait(_TIMEOUT_SECONDS)
        ended = time.time()
        parsed = _rows(stack, "SELECT COUNT(DISTINCT dag_id) FROM serialized_dag WHERE dag_id LIKE 'refresh_%'")[0][0]
        if process.returncode or parsed != pipelines:
            raise subprocess.CalledProcessError(process.returncode, f"{airflow} dag-processor: {parsed} DAGs")
    usage = usages.between("processor", started, ended)
    return Parsing(pipelines, ended - started, usage.cpu_seconds, usage.all_mib)


def _processor(airflow: Path, dags: Path) -> list[str]:
    """The command of a DAG processor that parses each file once. Airflow 2 has none that accepts SQLite."""
    if _is_3(airflow):
        return [str(airflow), "dag-processor", "--num-runs", "1"]
    code = (
        "import datetime, sys; from airflow.dag_processing.manager import DagFileProcessorManager as Manager; "
        "Manager(sys.argv[1], 1, datetime.timedelta(seconds=300), [], False, None, True).start()"
    )
    return [str(airflow.with_name("python")), "-c", code, str(dags)]


def refresh(airflow: Path) -> Share:
    """Refresh the sample's customers once more, by `dag.test()` and by the scheduler, after a week of purchases each.

    Raises:
        RuntimeError: a run failed.
    """
    with TemporaryDirectory() as folder:
        stack = Stack(ports=choose_ports(), state=Path(folder))
        with started_stores(stack):
            environment = _environment(stack, airflow)
            alone = {**environment, "AIRFLOW_HOME": str(stack.state / "alone")}  # a database of its own
            _output([str(airflow), "db", "migrate"], alone)
            _direct(airflow, alone, retrain=True)
            sample_data.next_week(sample_data.warehouse())
            direct = _direct(airflow, alone, retrain=False)
            sample_data.next_week(sample_data.warehouse())
            _output([str(airflow), "db", "migrate"], environment)
            run, tasks = _scheduled(stack, airflow, environment)
    waits, before = {}, run[0]
    for task, (start, end) in tasks.items():
        waits[task] = max(0.0, start - before)
        before = max(before, end)
    scheduled = {task: end - start for task, (start, end) in tasks.items()}
    return Share(direct, scheduled, waits, run[1] - run[0])


def _direct(airflow: Path, environment: Mapping[str, str], *, retrain: bool) -> dict[str, float]:
    """The time of each task of a refresh by `dag.test()`."""
    python = str(airflow.with_name("python"))
    path = [environment["PYTHONPATH"], str(ROOT / "dags"), str(ROOT / "plugins")]
    environment = {**environment, "PYTHONPATH": os.pathsep.join(path)}
    output = _output([python, "-m", "benchmarks.refresh.run", json.dumps({**_CONF, "retrain": retrain})], environment)
    ended = json.loads(output.splitlines()[-1])
    if ended["state"] != "success":
        raise RuntimeError(f"{output[-10_000:]}\n{airflow}: the refresh ended as {ended['state']}")
    return {task: end - start for task, (start, end) in ended["times"].items()}


def _scheduled(
    stack: Stack, airflow: Path, environment: Mapping[str, str]
) -> tuple[tuple[float, float], dict[str, tuple[float, float]]]:
    """Start and end of a refresh by the scheduler, and of its tasks, in the order in which they started."""
    (service,) = [service for service in stack.services() if service.name == "airflow"]
    ready = service.ready_url if _is_3(airflow) else f"{stack.url('airflow')}/health"
    service = replace(service, command=(str(airflow), "standalone"), environment=environment, ready_url=ready)
    process = processes.start(service, stack.state)
    try:
        processes.wait_until_ready(service, process, stack.state)
        _await(lambda: bool(_rows(stack, "SELECT 1 FROM serialized_dag WHERE dag_id = ?", _DAG_ID)))
        conf = json.dumps({**_CONF, "retrain": False})
        command = [str(airflow), "dags", "trigger", "--run-id", _SCHEDULED, "--conf", conf, _DAG_ID]
        _output(command, environment)
        _await(lambda: _state(stack) in ("success", "failed"))
    finally:
        processes.stop(service, stack.state)
    if _state(stack) != "success":
        failed = _rows(stack, "SELECT task_id FROM task_instance WHERE run_id = ? AND state = 'failed'", _SCHEDULED)
        logs = [
            log.read_text(errors="replace")[-_LOG_CHARACTERS:]
            for (task,) in failed
            for log in sorted((stack.state / "airflow" / "logs").rglob(f"*task_id={task}/**/*.log"))
        ]
        raise RuntimeError("\n".join([f"{airflow}: the scheduled refresh failed at {failed}", *logs]))
    ((start, end),) = _rows(stack, "SELECT start_date, end_date FROM dag_run WHERE run_id = ?", _SCHEDULED)
    tasks = _rows(
        stack,
        "SELECT task_id, start_date, end_date FROM task_instance WHERE run_id = ? AND state = 'success' "
        "AND start_date IS NOT NULL ORDER BY start_date",
        _SCHEDULED,
    )
    return (_seconds(start), _seconds(end)), {task: (_seconds(start), _seconds(end)) for task, start, end in tasks}


def _environment(stack: Stack, airflow: Path) -> dict[str, str]:
    """The environment of Airflow's processes, for a version."""
    (service,) = [service for service in stack.services() if service.name == "airflow"]
    return {
        **os.environ,
        **service.environment,
        "PATH": f"{airflow.parent}{os.pathsep}{os.environ['PATH']}",
        "AIRFLOW__WEBSERVER__WEB_SERVER_PORT": str(stack.ports["airflow"]),  # in Airflow 2
    }


def _copy_pipelines(folder: Path, number: int) -> None:
    """Make a folder of DAGs that has a number of pipelines, each for a model of its own."""
    shutil.copytree(ROOT / "dags", folder, ignore=shutil.ignore_patterns("pipelines", "decisions.py", "__pycache__"))
    for copy in range(number):
        pipeline = folder / "pipelines" / f"{_MODEL}_{copy}"
        shutil.copytree(ROOT / "dags" / "pipelines" / _MODEL, pipeline)
        file = pipeline / "pipeline.yaml"
        file.write_text(file.read_text().replace(f"model: {_MODEL}", f"model: {pipeline.name}"))


def _is_3(airflow: Path) -> bool:
    return not airflow.parents[1].name.endswith("-2.11")


def _state(stack: Stack) -> str | None:
    rows = _rows(stack, "SELECT state FROM dag_run WHERE run_id = ?", _SCHEDULED)
    return rows[0][0] if rows else None


def _rows(stack: Stack, sql: str, *parameters: str) -> list[Any]:
    """The rows of a query of Airflow's database."""
    database = stack.state / "airflow" / "airflow.db"
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(sql, parameters).fetchall()


def _seconds(moment: str) -> float:
    """A time in Airflow's database, in seconds since the epoch."""
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()


def _await(condition: Any) -> None:
    deadline = time.monotonic() + _TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("Airflow did not get there in time")
        time.sleep(_POLL_SECONDS)


def _output(command: list[str], environment: Mapping[str, str]) -> str:
    """The output of a command.

    Raises:
        RuntimeError: it failed.
    """
    ended = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  our own commands
    if ended.returncode:
        raise RuntimeError(f"{ended.stdout[-5000:]}{ended.stderr[-5000:]}\n{command}: exit code {ended.returncode}")
    return ended.stdout


if __name__ == "__main__":
    main()
