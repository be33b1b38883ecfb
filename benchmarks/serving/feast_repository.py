"""Fill Feast's store: `python -m benchmarks.serving.feast_repository FOLDER ENTITIES`, in Feast's own environment.

Makes a feature repository in FOLDER for `feast --chdir FOLDER serve`. The fields of a prediction are its features.
"""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Bool, Float64, Int64

from benchmarks.serving.predictions import ENTITY_TYPE, INSTANCE, MODEL, VERSION, entity_id, prediction

_ROWS_AT_A_TIME = 20_000

_SETTINGS = f"""\
project: benchmark
provider: local
registry: registry.db
online_store:
  type: bigtable
  project_id: {INSTANCE.project}
  instance: {INSTANCE.instance}
offline_store:
  type: file
entity_key_serialization_version: 3
"""


def main() -> None:
    """Register the features, and write those of all entities."""
    folder, entities = Path(sys.argv[1]), int(sys.argv[2])
    (folder / "feature_store.yaml").write_text(_SETTINGS)
    store = FeatureStore(str(folder))
    entity = Entity(name=ENTITY_TYPE, join_keys=["entity_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name=MODEL,
        entities=[entity],
        ttl=timedelta(0),
        schema=[
            Field(name="probability", dtype=Float64),
            Field(name="buys_again", dtype=Bool),
            Field(name="purchases", dtype=Int64),
        ],
        source=FileSource(path=str(folder / "none.parquet"), timestamp_field="at"),
    )
    store.apply([entity, view])
    at = datetime.fromtimestamp(VERSION // 1000, UTC)
    for start in range(0, entities, _ROWS_AT_A_TIME):
        numbers = range(start, min(start + _ROWS_AT_A_TIME, entities))
        rows = [{"entity_id": entity_id(number), "at": at, **prediction(number)} for number in numbers]
        store.write_to_online_store(MODEL, pd.DataFrame(rows))


if __name__ == "__main__":
    main()
