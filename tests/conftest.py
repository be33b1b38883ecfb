"""The Bigtable and BigQuery of the local stack, for every suite that needs one. Each is started once per session."""

from collections.abc import Iterator

import pytest

from tests.servers import bigquery_server, bigtable_server


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
