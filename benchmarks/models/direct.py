"""Uses scikit-learn and XGBoost directly, in the environment of the local BigQuery.

`python -m benchmarks.models.direct make FILE ROWS` writes a table of examples as Parquet.
`python -m benchmarks.models.direct KIND FILE RESULT` trains on the examples, predicts for them, writes the predictions,
and prints the seconds and the CPU seconds of both as JSON.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEATURES = tuple(f"x{number}" for number in range(10))
_BOOSTING = {"objective": "binary:logistic", "max_depth": 6, "eta": 0.3, "base_score": 0.5, "nthread": 1, "seed": 0}
_ROUNDS = 20


def make(file: str, rows: int) -> None:
    """Write examples: ten features, a number that depends on them, and a class that does."""
    chance = np.random.default_rng(0)
    features = chance.normal(size=(rows, len(FEATURES)))
    signal = features @ np.linspace(-1, 1, len(FEATURES)) + features[:, 0] * features[:, 1]
    columns: dict[str, Any] = {name: features[:, position] for position, name in enumerate(FEATURES)}
    columns["amount"] = signal + chance.normal(size=rows)
    columns["bought"] = (signal + chance.logistic(size=rows) > 0).astype(np.int64)
    columns["id"] = np.arange(rows)
    pq.write_table(pa.table(columns), file)


def linear(matrix: Any, table: pa.Table) -> Callable[[Any], Any]:
    """A linear regression."""
    model = LinearRegression().fit(matrix, np.asarray(table["amount"]))
    predict: Callable[[Any], Any] = model.predict
    return predict


def logistic(matrix: Any, table: pa.Table) -> Callable[[Any], Any]:
    """A logistic regression."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf)).fit(matrix, np.asarray(table["bought"]))
    return lambda rows: model.predict_proba(rows)[:, 1]


def boosted_trees(matrix: Any, table: pa.Table) -> Callable[[Any], Any]:
    """Boosted trees, with one thread as in the local BigQuery."""
    examples = xgboost.DMatrix(matrix.astype(np.float32), np.asarray(table["bought"]), nthread=1)
    booster = xgboost.train(_BOOSTING, examples, _ROUNDS)
    return lambda rows: booster.inplace_predict(rows.astype(np.float32))


KINDS: dict[str, Callable[[Any, pa.Table], Callable[[Any], Any]]] = {
    kind.__name__: kind for kind in (linear, logistic, boosted_trees)
}


def main() -> None:
    """Make examples, or measure."""
    kind, file, last = sys.argv[1:]
    if kind == "make":
        make(file, int(last))
        return
    started = _now()
    table = pq.read_table(file)
    predict = KINDS[kind](_matrix(table), table)
    trained = _now()
    table = pq.read_table(file)
    pq.write_table(pa.table({**{name: table[name] for name in table.column_names}, "p": predict(_matrix(table))}), last)
    predicted = _now()
    costs = {"train": _between(started, trained), "predict": _between(trained, predicted)}
    sys.stdout.write(json.dumps(costs) + "\n")


def _matrix(table: pa.Table) -> Any:
    return np.column_stack([np.asarray(table[name]) for name in FEATURES])


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _between(start: tuple[float, float], end: tuple[float, float]) -> dict[str, float]:
    return {"seconds": end[0] - start[0], "cpu_seconds": end[1] - start[1]}


if __name__ == "__main__":
    main()
