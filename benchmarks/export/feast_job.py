"""The same predictions by Feast: `python -m benchmarks.export.feast_job ROWS`, in Feast's own environment.

Materializes a Parquet file into the Bigtable at `BIGTABLE_EMULATOR_HOST`, checks some rows, and prints the cost of
materializing as a line of JSON.
"""

import json
import os
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64, String

from benchmarks.export.cost import measured

_AT = datetime(2026, 11, 23, tzinfo=UTC)
_CHECKED = 100
_SETTINGS = """\
project: benchmark
provider: local
registry: registry.db
online_store:
  type: bigtable
  project_id: demo
  instance: benchmark
offline_store:
  type: file
entity_key_serialization_version: 3
"""
_FIELDS = {
    "probability": Float64,
    "buys_again": Bool,
    "purchases": Int64,
    "expected_value": Float64,
    "segment": String,
}


def main() -> None:
    """Run the materialization, and print its cost.

    Raises:
        RuntimeError: Feast's store has other features.
    """
    rows = int(sys.argv[1])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "predictions.parquet"
        predictions(rows).to_parquet(file)
        (Path(folder) / "feature_store.yaml").write_text(_SETTINGS)
        store = FeatureStore(folder)
        view = FeatureView(
            name="repeat_purchase",
            entities=[entity := Entity(name="customer", join_keys=["entity_id"], value_type=ValueType.STRING)],
            ttl=timedelta(0),
            schema=[Field(name=name, dtype=kind) for name, kind in _FIELDS.items()],
            source=FileSource(path=str(file), timestamp_field="at"),
        )
        store.apply([entity, view])
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), measured() as cost:
            store.materialize(_AT - timedelta(days=1), _AT + timedelta(days=1))  # it prints its progress
        _check(store, rows)
    sys.stdout.write(json.dumps(cost) + "\n")


def predictions(rows: int) -> pd.DataFrame:
    """The predictions of the export, with a column for each field."""
    n = np.arange(1, rows + 1)
    return pd.DataFrame(
        {
            "entity_id": [f"customer-{number:09}" for number in n],
            "at": pd.Series([_AT]).repeat(rows).array,
            "probability": n * 7919 % 10_000 / 10_000,
            "buys_again": n % 3 == 0,
            "purchases": n * 31 % 17,
            "expected_value": np.round(n * 104_729 % 1_000_000 / 100, 2),
            "segment": np.where(n % 5 == 0, "regular", "occasional"),
        }
    )


def _check(store: FeatureStore, rows: int) -> None:
    expected = predictions(rows).iloc[:: max(1, rows // _CHECKED)]
    ids: list[dict[str, Any]] = [{"entity_id": name} for name in expected["entity_id"]]
    found = store.get_online_features([f"repeat_purchase:{name}" for name in _FIELDS], ids).to_dict()
    for name in _FIELDS:
        if found[name] != expected[name].tolist():
            raise RuntimeError(f"Feast's {name} are others: {found[name][:3]}")


if __name__ == "__main__":
    main()
