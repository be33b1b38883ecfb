"""INFORMATION_SCHEMA.MODELS as Arrow rows.

BigQuery's documentation has no page about this view: the columns are those that queries in public repositories use,
named and typed as in INFORMATION_SCHEMA.TABLES.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

_STRINGS = ("model_catalog", "model_schema", "model_name", "model_type")
_TIMES = ("creation_time", "last_modified_time")
_SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in _STRINGS),
        *(pa.field(name, pa.timestamp("us", tz="UTC")) for name in _TIMES),
    ]
)
_US_PER_MS = 1000


def models_view(resources: Iterable[dict[str, Any]]) -> pa.Table:
    """Return the view of these model resources."""
    rows = [
        {
            "model_catalog": resource["modelReference"]["projectId"],
            "model_schema": resource["modelReference"]["datasetId"],
            "model_name": resource["modelReference"]["modelId"],
            "model_type": resource["modelType"],
            "creation_time": int(resource["creationTime"]) * _US_PER_MS,
            "last_modified_time": int(resource["lastModifiedTime"]) * _US_PER_MS,
        }
        for resource in resources
    ]
    return pa.Table.from_pylist(rows, _SCHEMA)
