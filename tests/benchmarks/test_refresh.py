"""The benchmark of whole refreshes: its data, and its report."""

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from benchmarks.refresh.__main__ import Measured, TaskCost, change, report, write_purchases
from local_stack import sample_data
from local_stack.settings import PROJECT
from tests.servers import bigquery_server

ENTITIES = 30_000


@pytest.fixture(scope="module")
def client():
    with bigquery_server() as (rest, _), pytest.MonkeyPatch.context() as patch:
        patch.setenv("BIGQUERY_EMULATOR_HOST", f"http://{rest}")
        client = bigquery.Client(PROJECT, credentials=AnonymousCredentials())
        sample_data.first_purchases(client)
        write_purchases(client, ENTITIES)
        yield client


def spend(client):
    return dict(
        tuple(row.values())
        for row in client.query_and_wait("SELECT customer_id, SUM(amount_usd) FROM shop.transactions GROUP BY 1")
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 1.0])
def test_the_given_share_of_the_given_number_of_customers_changes(client, share):
    before = spend(client)
    change(client, share)
    after = spend(client)
    assert len(before) == len(after) == ENTITIES
    assert sum(after[name] != before[name] for name in before) == pytest.approx(share * ENTITIES, rel=0.05)


def test_a_refresh_is_named_by_its_size_and_share_and_reports_its_tasks():
    tasks = {"train": TaskCost(2.0, 0.2, 300.0, 1.8, 0.0), "promote": TaskCost(0.01, 0.01, 390.0, 0.0, 0.0)}
    first = Measured(1_000_000, None, tasks, {"bigquery": 900.0})
    assert (first.name, first.seconds, first.peak_mib) == ("1000000 entities, first", 2.01, 390.0)
    assert Measured(1_000, 0.01, tasks, {}).name == "1000 entities, 1% changed"
    assert "train: seconds 2, cpu_seconds 0.2" in report(first)
    assert "promote" not in report(first)
