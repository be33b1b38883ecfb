"""The real Bigtable and BigQuery of the local stack, for every suite that needs one. Each runs once a session."""

import re
from collections.abc import Iterator

import pytest

from local_stack.servers import BIGQUERY, BIGTABLE, running


@pytest.fixture(scope="session")
def bigtable() -> Iterator[None]:
    """A Bigtable, which the clients of this process use."""
    with running(*BIGTABLE) as line, pytest.MonkeyPatch.context() as environment:
        environment.setenv("BIGTABLE_EMULATOR_HOST", line.split()[-1])
        yield


@pytest.fixture(scope="session")
def bigquery() -> Iterator[None]:
    """A BigQuery, which the clients of this process use, with its Storage Read API."""
    with running(*BIGQUERY) as line, pytest.MonkeyPatch.context() as environment:
        rest, storage = re.findall(r"127\.0\.0\.1:\d+", line)
        environment.setenv("BIGQUERY_EMULATOR_HOST", f"http://{rest}")
        environment.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", storage)
        yield
