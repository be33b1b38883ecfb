"""Fixtures: a real server, started once per session, and tables and models in it."""

import uuid
from collections.abc import Callable, Iterator

import pytest
import requests
from google.cloud import bigquery

from local_server import LocalBigQuery, running


@pytest.fixture(scope="session")
def start() -> Callable[..., object]:
    """Starts another server with command line arguments, as a context manager."""
    return running


@pytest.fixture(scope="session")
def local_bigquery() -> Iterator[LocalBigQuery]:
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def client(local_bigquery: LocalBigQuery) -> bigquery.Client:
    return local_bigquery.client()


@pytest.fixture(scope="session")
def rows(client: bigquery.Client) -> Callable[..., list[dict[str, object]]]:
    """Runs SQL and returns the rows as dictionaries; keyword arguments are query parameters."""

    def run(sql: str, **parameters: object) -> list[dict[str, object]]:
        types_ = {bool: "BOOL", int: "INT64", float: "FLOAT64", str: "STRING"}
        config = bigquery.QueryJobConfig(
            query_parameters=[
                bigquery.ScalarQueryParameter(name, types_[type(value)], value) for name, value in parameters.items()
            ]
        )
        return [dict(row) for row in client.query(sql, job_config=config).result()]

    return run


@pytest.fixture
def api(local_bigquery):
    """Calls the REST API: `api(method, path, ...)` returns status and body."""

    def call(method, path, **arguments):
        response = requests.request(
            method, f"{local_bigquery.rest}/bigquery/v2/projects/demo/{path}", timeout=60, **arguments
        )
        return response.status_code, response.json() if response.content else None

    return call


@pytest.fixture
def dataset(client: bigquery.Client) -> Iterator[str]:
    """The name of a new dataset."""
    name = f"d_{uuid.uuid4().hex[:8]}"
    client.create_dataset(name)
    yield name
    client.delete_dataset(name, delete_contents=True)


# 1,200 customers. All columns follow from the id. `bought` depends on the features and on terms that no model sees.
CUSTOMERS = """
SELECT
  id,
  MOD(id * 7919, 97) / 10 AS recency,
  IF(MOD(id, 11) = 0, NULL, MOD(id * 104729, 31)) AS frequency,
  IF(MOD(id, 7) = 0, NULL, CONCAT('city', CAST(MOD(id, 5) AS STRING))) AS city,
  MOD(id, 2) = 0 AS member,
  CAST(MOD(id * 7919, 97) + MOD(id * 31, 53) + 9 * MOD(id, 5) < 75 AS INT64) AS bought
FROM UNNEST(GENERATE_ARRAY(1, 1200)) AS id
"""


@pytest.fixture(scope="session")
def customers(client: bigquery.Client) -> Iterator[str]:
    """The name of a table of customers with a label. No test changes it."""
    client.create_dataset("shared")
    client.query(f"CREATE TABLE shared.customers AS {CUSTOMERS}").result()
    yield "shared.customers"
    client.delete_dataset("shared", delete_contents=True)


@pytest.fixture(scope="session")
def model(client: bigquery.Client, customers: str) -> str:
    """The name of a logistic regression on the customers. No test changes it."""
    client.query(
        "CREATE MODEL shared.buys OPTIONS(model_type='LOGISTIC_REG', input_label_cols=['bought'], "
        f"data_split_method='NO_SPLIT') AS SELECT * EXCEPT(id) FROM {customers}"
    ).result()
    return "shared.buys"


# The model type and the label of each model of `zoo`.
ZOO_LABELS = {
    "binary": ("LOGISTIC_REG", "bought"),
    "multiclass": ("LOGISTIC_REG", "CASE WHEN recency < 3 THEN 'low' WHEN member THEN 'mid' ELSE 'top' END"),
    "linear": ("LINEAR_REG", "3 * recency + IF(member, id / 100, 5)"),
    "trees": ("BOOSTED_TREE_CLASSIFIER", "bought"),
    "forest": ("RANDOM_FOREST_CLASSIFIER", "CASE WHEN recency < 3 THEN 'low' WHEN member THEN 'mid' ELSE 'top' END"),
    "tree_numbers": ("BOOSTED_TREE_REGRESSOR", "3 * recency + IF(member, id / 100, 5)"),
}


@pytest.fixture(scope="session")
def zoo(client: bigquery.Client, customers: str) -> Iterator[str]:
    """The name of a dataset with models of every kind, and a table `<model>_rows` with the training rows of each.

    The label is the column `y`. A fifth of the 1,200 rows is held out. No test changes them.
    """
    client.create_dataset("zoo")
    for name, (model_type, label) in ZOO_LABELS.items():
        client.query(
            f"CREATE TABLE zoo.{name}_rows AS SELECT recency, frequency, city, member, id, "
            f"MOD(DIV(id, 5), 5) = 0 AS held_out, {label} AS y FROM {customers}"
        ).result()
        client.query(
            f"CREATE MODEL zoo.{name} OPTIONS(model_type='{model_type}', input_label_cols=['y'], "
            "data_split_method='CUSTOM', data_split_col='held_out', enable_global_explain=TRUE) "
            f"AS SELECT * EXCEPT(id) FROM zoo.{name}_rows"
        ).result()
    client.query(
        "CREATE MODEL zoo.clusters OPTIONS(model_type='KMEANS', num_clusters=3) "
        f"AS SELECT recency, frequency, city FROM {customers}"
    ).result()
    yield "zoo"
    client.delete_dataset("zoo", delete_contents=True)


@pytest.fixture(scope="session")
def columns(client: bigquery.Client) -> Callable[[str], list[str]]:
    """Returns the columns of a query's result as DDL, such as `a ARRAY<STRUCT<x INT64>>`."""
    names = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}

    def written(field: bigquery.SchemaField) -> str:
        inner = ", ".join(written(inside) for inside in field.fields)
        plain = f"STRUCT<{inner}>" if field.fields else names.get(field.field_type, field.field_type)
        return f"{field.name} ARRAY<{plain}>" if field.mode == "REPEATED" else f"{field.name} {plain}"

    return lambda sql: [written(field) for field in client.query(sql).result().schema]
