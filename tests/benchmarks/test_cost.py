"""The bill of a deployment: its document, and that more of anything never costs less."""

import re
from dataclasses import fields, replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cost.__main__ import _MEANINGS, GIVENS, LARGE, PRICES, SMALL, TABLES
from benchmarks.cost.bill import Deployment, bill
from benchmarks.document import filled

DOCUMENT = Path(__file__).parents[2] / "docs/cost.md"

AMOUNTS = sorted({field.name for field in fields(Deployment)} - {"changed", "scrape_seconds", "logs_requests"})


def dollars(deployment):
    return bill(PRICES, GIVENS, deployment)


def test_the_document_has_the_tables_that_the_code_prints():
    text = DOCUMENT.read_text()
    assert sorted(re.findall(r"<!-- cost: (\w+) -->", text)) == sorted(TABLES)
    assert filled(text, "cost", {table: make() for table, make in TABLES.items()}) == text


def test_the_document_says_what_each_number_means():
    assert list(_MEANINGS) == [field.name for field in fields(Deployment)]


@given(st.sampled_from([SMALL, LARGE]), st.sampled_from(AMOUNTS), st.integers(1, 100))
def test_more_of_anything_never_costs_less(deployment, name, times):
    more = replace(deployment, **{name: getattr(deployment, name) * times})
    assert sum(dollars(more).values()) >= sum(dollars(deployment).values()) * (1 - 1e-9)


@given(st.sampled_from([SMALL, LARGE]), st.floats(0.001, 1), st.floats(0.001, 1))
def test_more_changes_never_cost_less(deployment, one, other):
    fewer, more = (dollars(replace(deployment, changed=share)) for share in sorted((one, other)))
    assert fewer["export"] <= more["export"] * (1 + 1e-9)
    assert fewer["export"] > 0


def test_a_request_log_costs_only_where_it_is_kept_and_only_beyond_what_is_free():
    assert dollars(LARGE)["request log"] == 0
    assert dollars(replace(LARGE, logs_requests=True))["request log"] > 0
    assert dollars(replace(SMALL, logs_requests=True))["request log"] == 0
