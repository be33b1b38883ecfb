"""INFORMATION_SCHEMA.MODELS of a dataset or a region.

BigQuery's documentation has no page about this view. The columns are those that queries in public repositories use,
with names and types as in INFORMATION_SCHEMA.TABLES.
"""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
from sqlglot import exp

from local_bigquery.sql.ml_calls import rename
from local_bigquery.sql.rewrites.resolver import Catalog

_VIEW = "INFORMATION_SCHEMA.MODELS"
MODELS_COLUMNS = pa.schema(
    [
        *((name, pa.string()) for name in ("model_catalog", "model_schema", "model_name", "model_type")),
        *((name, pa.timestamp("us", tz="UTC")) for name in ("creation_time", "last_modified_time")),
    ]
)
_US_PER_MS = 1000


async def models_view(tree: exp.Expr, catalog: Catalog) -> None:
    """Replace the view by a table with its rows.

    Raises:
        BigQueryError: `notFound` if the dataset does not exist.
    """
    found = [table for table in tree.find_all(exp.Table) if table.db and table.name.upper() == _VIEW]
    for table in found:
        rows = await catalog.models_table(table.catalog or None, table.db)
        if not table.alias or table.alias.upper().endswith(_VIEW):
            table.set("alias", exp.TableAlias(this=exp.to_identifier("MODELS")))
        rename(table, rows.project, rows.dataset, rows.table)


def models_rows(resources: Iterable[dict[str, Any]]) -> pa.Table:
    """Return the rows of the view for the resources of some models."""
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
    return pa.Table.from_pylist(rows, MODELS_COLUMNS)
