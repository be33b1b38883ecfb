"""The emulators of one run: a BigQuery with predictions to export, and an empty Bigtable."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest import mock

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from benchmarks.export.table_scan import all_cells
from local_stack.servers import BIGQUERY, BIGTABLE, running
from prediction_store.layout import Instance
from prediction_store.lifecycle import ModelState, Receipt
from prediction_store.registry import Registry
from prediction_store.tables import Tables

INSTANCE = Instance("demo", "benchmark")
MODEL = "repeat_purchase"
ENTITY_TYPE = "customer"
VERSION = 1_795_462_342_077
SOURCE_TABLE = "demo.benchmark.changes"

# The values vary by row and are the same in every run.
_PREDICTIONS = f"""
CREATE TABLE `{SOURCE_TABLE}` AS
SELECT
  FORMAT('customer-%09d', n) AS entity_id,
  TO_JSON_STRING(STRUCT(
    MOD(n * 7919, 10000) / 10000 AS probability,
    MOD(n, 3) = 0 AS buys_again,
    MOD(n * 31, 17) AS purchases,
    ROUND(MOD(n * 104729, 1000000) / 100, 2) AS expected_value,
    IF(MOD(n, 5) = 0, 'regular', 'occasional') AS segment
  )) AS payload
FROM UNNEST(GENERATE_ARRAY(1, @rows)) AS n
"""


@dataclass(frozen=True, slots=True)
class Contents:
    """The result of an export: number of cells, digest of all their fields, and receipt."""

    cells: int
    digest: str
    receipt: Receipt | None


@contextmanager
def cloud(rows: int, implementation: str) -> Iterator[str]:
    """Start both emulators, make a table of predictions, and begin its export; yield the Bigtable implementation.

    This process and its children find the emulators by environment variables.

    Args:
        rows: the number of predictions.
        implementation: the implementation of Bigtable: auto, cbtemulator or embedded.
    """
    with (
        running(*BIGTABLE, "--implementation", implementation) as bigtable_line,
        running(*BIGQUERY) as bigquery_line,
    ):
        rest, storage = re.findall(r"127\.0\.0\.1:\d+", bigquery_line)
        addresses = {
            "BIGTABLE_EMULATOR_HOST": bigtable_line.split()[-1],
            "BIGQUERY_EMULATOR_HOST": f"http://{rest}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": storage,
        }
        with mock.patch.dict(os.environ, addresses):
            _predict(rows)
            _begin_export()
            yield bigtable_line.split("(")[1].split(")")[0]


def contents() -> Contents:
    """Scan the whole table, and read the receipt."""
    digest = hashlib.sha256()
    cells = 0
    for cell in all_cells(INSTANCE.table(ENTITY_TYPE)):
        digest.update(repr(tuple(cell)).encode())
        cells += 1
    return Contents(cells, digest.hexdigest(), Registry(INSTANCE).get(MODEL).versions[VERSION].receipt)


def _predict(rows: int) -> None:
    client = bigquery.Client(INSTANCE.project, credentials=AnonymousCredentials())
    client.create_dataset(SOURCE_TABLE.rsplit(".", 1)[0])
    parameters = [bigquery.ScalarQueryParameter("rows", "INT64", rows)]
    client.query_and_wait(_PREDICTIONS, job_config=bigquery.QueryJobConfig(query_parameters=parameters))


def _begin_export() -> None:
    tables = Tables(INSTANCE)
    tables.ensure_registry()
    registry = Registry(INSTANCE)
    tables.ensure_model(registry.register(ModelState(MODEL, ENTITY_TYPE)))
    registry.update(MODEL, lambda state: state.open(VERSION).begin_export(VERSION))
