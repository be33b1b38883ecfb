"""The Bigtable and BigQuery of the local stack, for every suite that needs one. Each is started once per session."""

import os
from collections.abc import Iterator
from tempfile import TemporaryDirectory

import pytest

from tests.servers import bigquery_server, bigtable_server

# Airflow writes its configuration where it is first imported. Each process gets a folder of its own.
_AIRFLOW_HOME = TemporaryDirectory(prefix="airflow-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name

STARTED_BY_FIXTURES = {"bigtable", "bigquery", "store"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests whose fixtures start a server as slow."""
    for item in items:
        if isinstance(item, pytest.Function) and STARTED_BY_FIXTURES.intersection(item.fixturenames):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def bigtable() -> Iterator[str]:
    """The address of a Bigtable, which the clients of this process use."""
    with bigtable_server() as address, pytest.MonkeyPatch.context() as environment:
        environment.setenv("BIGTABLE_EMULATOR_HOST", address)
        yield address


@pytest.fixture(scope="session")
def bigquery() -> Iterator[str]:
    """The address of a BigQuery, which the clients of this process use, with its Storage Read API."""
    with bigquery_server() as (rest, storage), pytest.MonkeyPatch.context() as environment:
        environment.setenv("BIGQUERY_EMULATOR_HOST", f"http://{rest}")
        environment.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", storage)
        yield rest
