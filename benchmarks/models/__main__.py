"""Measure training and prediction of the local BigQuery ML against scikit-learn and XGBoost used directly.

benchmarks/README.md explains the figures.
"""

import json
import os
import re
import subprocess
import sys
import time
from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery
from rich.console import Console

from benchmarks.document import short
from benchmarks.processes import use
from benchmarks.results import FOLDER, conditions, keep
from local_stack.servers import BIGQUERY, ROOT, running

_PYTHON = ROOT / ".venvs" / "local_bigquery" / "bin" / "python"
_FEATURES = ", ".join(f"x{number}" for number in range(10))
_DATASET = "demo.benchmark"
_SAMPLED = 10  # one of so many predictions is compared
_MODELS = {
    "linear": ("LINEAR_REG", "amount", "predicted_amount", ""),
    "logistic": ("LOGISTIC_REG", "bought", "predicted_bought_probs[OFFSET(0)].prob", ""),
    "boosted_trees": (
        "BOOSTED_TREE_CLASSIFIER",
        "bought",
        "predicted_bought_probs[OFFSET(0)].prob",
        ", max_iterations = 20, early_stop = FALSE, tree_method = 'HIST'",
    ),
}
"""The type, the label, the prediction as SQL, and further options of each kind of model."""

_SAME_PREDICTIONS = {"linear": 1e-6, "logistic": 1e-3}
"""The largest mean difference between the predictions of models of a kind.

Boosted trees of the same rows in another order differ more, and must only be as good.
"""
_SAME_ERROR = 0.01
"""The largest difference between the mean absolute errors, in shares of the error."""


class DifferentAnswersError(Exception):
    """The local BigQuery ML and the library predict differently, so their speed cannot be compared."""


def main() -> None:
    """Run the command. Exits with an error if predictions differ."""
    parser = ArgumentParser(prog="python -m benchmarks.models", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="examples (default %(default)s)")
    parser.add_argument("--runs", type=int, default=1, help="runs of each, in turn (default %(default)s)")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results (default %(default)s)")
    arguments = parser.parse_args()
    console = Console(soft_wrap=True)
    found = conditions(rows=arguments.rows)
    with TemporaryDirectory() as folder, running(*BIGQUERY) as line:
        rest = re.findall(r"127\.0\.0\.1:\d+", line)[0]
        client = bigquery.Client(
            "demo", credentials=AnonymousCredentials(), client_options={"api_endpoint": f"http://{rest}"}
        )
        examples = Path(folder) / "examples.parquet"
        _direct("make", examples, str(arguments.rows))
        client.create_dataset(_DATASET)
        columns = ", ".join(f"x{number} FLOAT64" for number in range(10))
        client.query_and_wait(f"CREATE TABLE {_DATASET}.examples ({columns}, amount FLOAT64, bought INT64, id INT64)")
        config = bigquery.LoadJobConfig(source_format=bigquery.SourceFormat.PARQUET)
        with examples.open("rb") as file:
            client.load_table_from_file(file, f"{_DATASET}.examples", job_config=config).result()
        runs: dict[str, list[dict[str, Any]]] = {}
        for _ in range(arguments.runs):
            for kind in _MODELS:
                direct = json.loads(_direct(kind, examples, str(Path(folder) / f"{kind}.parquet")))
                ours = _local(client, kind)
                _check_equal(client, kind, Path(folder) / f"{kind}.parquet")
                runs.setdefault(kind, []).append({"local_bigquery": ours, "direct": direct})
                for name, cost in (("local BigQuery", ours), ("direct", direct)):
                    figures = "; ".join(
                        f"{step} {short(c['seconds'])} s, {short(c['cpu_seconds'])} CPU s" for step, c in cost.items()
                    )
                    console.print(f"{kind}, {name}: {figures}")
    keep("models", {"runs": runs, "conditions": found}, arguments.results)


def _local(client: bigquery.Client, kind: str) -> dict[str, dict[str, float]]:
    """The costs of CREATE MODEL and of ML.PREDICT, whose result is stored."""
    model_type, label, prediction, options = _MODELS[kind]
    train = f"""
        CREATE OR REPLACE MODEL {_DATASET}.{kind}
        OPTIONS (model_type = '{model_type}', input_label_cols = ['{label}'], data_split_method = 'NO_SPLIT'{options})
        AS SELECT {_FEATURES}, {label} FROM {_DATASET}.examples
    """
    predict = f"""
        CREATE OR REPLACE TABLE {_DATASET}.{kind}_predictions AS
        SELECT {_FEATURES}, amount, bought, id, {prediction} AS p
        FROM ML.PREDICT(MODEL {_DATASET}.{kind}, TABLE {_DATASET}.examples)
    """
    return {"train": _cost(client, train), "predict": _cost(client, predict)}


def _cost(client: bigquery.Client, sql: str) -> dict[str, float]:
    """The time of a statement, and the CPU time that BigQuery's emulator, this process's child, takes for it."""
    cpu, started = _emulator_seconds(), time.perf_counter()
    client.query_and_wait(sql)
    return {"seconds": time.perf_counter() - started, "cpu_seconds": _emulator_seconds() - cpu}


def _emulator_seconds() -> float:

    return use(psutil.Process(os.getpid()).children(recursive=True)).cpu_seconds


def _check_equal(client: bigquery.Client, kind: str, file: Path) -> None:
    """Compare the predictions of the local BigQuery with the library's.

    Raises:
        DifferentAnswersError: they differ.
    """
    table = pq.read_table(file, columns=["id", "p", label := _MODELS[kind][1]]).sort_by("id")
    direct, labels = np.asarray(table["p"])[::_SAMPLED], np.asarray(table[label])[::_SAMPLED]
    sql = f"SELECT p FROM {_DATASET}.{kind}_predictions WHERE MOD(id, {_SAMPLED}) = 0 ORDER BY id"
    ours = np.array([row.p for row in client.query_and_wait(sql)])
    error, its_error = (float(np.abs(predicted - labels).mean()) for predicted in (ours, direct))
    difference = float(np.abs(ours - direct).mean())
    if abs(error - its_error) > _SAME_ERROR * its_error or difference > _SAME_PREDICTIONS.get(kind, 1):
        raise DifferentAnswersError(f"{kind}: they differ by {difference:g}, errors are {error:g}, {its_error:g}")


def _direct(*arguments: str | Path) -> str:
    command = [_PYTHON, "-m", "benchmarks.models.direct", *arguments]
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True).stdout  # noqa: S603  our own command


if __name__ == "__main__":
    try:
        main()
    except DifferentAnswersError as error:
        sys.exit(str(error))
