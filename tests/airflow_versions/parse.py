"""Parses the DAG files in this interpreter's Airflow. Prints time, heavy imports and connections, as JSON."""

import contextlib
import importlib
import json
import sys
import time
from pathlib import Path

FOLDER = Path(sys.argv[1])
HEAVY = ("google.cloud.bigquery", "google.cloud.bigtable", "google.cloud.storage", "googleapiclient", "grpc", "pandas")
HEAVY += ("apache_beam", "httpx", "pyarrow", "numpy")
LOOKUPS = ("socket.connect", "socket.getaddrinfo", "sqlite3.connect", "subprocess.Popen")

AIRFLOW = (
    "airflow.sdk",
    "airflow.models.dag",
    "airflow.hooks.base",
    "airflow.sensors.base",
)  # for every DAG file
OPERATORS = ("airflow.providers.google.cloud.operators.bigquery", "airflow.providers.apache.beam.operators.beam")


def main() -> None:
    started = time.perf_counter()
    for name in AIRFLOW:
        with contextlib.suppress(ImportError):  # each version has only some of them
            importlib.import_module(name)
    try:
        from airflow.sdk import Asset
    except ImportError:
        from airflow.datasets import Dataset as Asset
    Asset("anything://at/all")  # makes Airflow load what its providers know of asset URIs
    airflow_seconds = time.perf_counter() - started
    started = time.perf_counter()
    for name in OPERATORS:
        importlib.import_module(name)
    operators_seconds = time.perf_counter() - started
    before, lookups, parsing = set(sys.modules), [], True
    sys.addaudithook(lambda event, _: lookups.append(event) if parsing and event in LOOKUPS else None)
    started = time.perf_counter()
    from refresh_factory.dag import refresh_dag

    files = sorted(FOLDER.glob("pipelines/*/dag.py"))
    refresh_dag(str(files[0]))
    first_seconds = time.perf_counter() - started
    started = time.perf_counter()
    dags = [refresh_dag(str(file)) for file in files]
    again_seconds = (time.perf_counter() - started) / len(files)
    parsing = False
    heavy = {
        "operators": sorted(before.intersection(HEAVY)),
        "ours": sorted((sys.modules.keys() - before).intersection(HEAVY)),
    }

    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:  # before 3.2
        from airflow.serialization.serialized_objects import SerializedDAG as Serialization
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:  # before 3.2
        from airflow.models.dagbag import DagBag
    bag = DagBag(FOLDER)
    report = {
        "airflow_seconds": airflow_seconds,
        "operators_seconds": operators_seconds,
        "first_seconds": first_seconds,
        "again_seconds": again_seconds,
        "heavy": heavy,
        "lookups": lookups,
        "serialised": [
            Serialization.from_dict(json.loads(json.dumps(Serialization.to_dict(dag)))).dag_id for dag in dags
        ],
        "loaded": sorted(bag.dag_ids),
        "errors": bag.import_errors,
    }
    sys.stdout.write(f"\n{json.dumps(report)}\n")


if __name__ == "__main__":
    main()
