"""The benchmark of whole refreshes: its data, and its table."""

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from benchmarks.refresh.__main__ import Measured, cells, change, head, write_purchases
from local_stack import sample_data
from local_stack.settings import PROJECT, ROOT
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


def test_each_row_of_the_table_has_a_cell_for_each_title():
    first = Measured(1_000_000, None, {"train": 2.0, "export": 30.25, "promote": 0.5}, 1234.5)
    assert dict(zip(head(), cells(first), strict=True)) == {
        "entities": "1,000,000",
        "changed": "first",
        "all tasks s": "32.8",
        "train s": "2",
        "predict s": "-",
        "measure s": "-",
        "changes s": "-",
        "export s": "30.2",
        "smoke_test s": "-",
        "others s": "0.5",
        "peak MiB": "1,234",
    }


def test_the_document_has_a_place_for_the_table():
    assert "<!-- refresh: sizes -->" in (ROOT / "docs" / "performance.md").read_text()
