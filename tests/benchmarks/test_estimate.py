"""The estimate of size and cost: its page has the printed tables, and more of anything never costs less."""

import re
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import estimate
from benchmarks.document import filled
from benchmarks.estimate import LARGE, SMALL, TABLES, Deployment, bill, export, spare_rate
from local_stack.servers import ROOT

PAGE = ROOT / "docs" / "size-and-cost.md"
AMOUNTS = sorted({field.name for field in fields(Deployment)} - {"changed", "logs_requests"})

entities = st.floats(1e4, 1e11)
shares = st.floats(1e-4, 1)
lookups = st.floats(0, 1e5)


def dollars(deployment):
    return sum(bill(deployment).values())


def price(planned):
    return planned.dollars + planned.diff_dollars + planned.read_tib * estimate.READ_TIB


def test_the_page_has_the_tables_that_the_estimate_prints():
    text = PAGE.read_text()
    assert sorted(re.findall(r"<!-- estimate: (\w+) -->", text)) == sorted(TABLES)
    assert filled(text, "estimate", {name: table() for name, table in TABLES.items()}) == text


@given(st.sampled_from([SMALL, LARGE]), st.sampled_from(AMOUNTS), st.integers(1, 100))
def test_more_of_anything_never_costs_less(deployment, name, times):
    more = replace(deployment, **{name: getattr(deployment, name) * times})
    assert dollars(more) >= dollars(deployment) * (1 - 1e-9)


@given(entities, shares, shares, lookups)
def test_more_changes_never_cost_less(size, one, other, served):
    fewer, more = (export(size, share, 3, served) for share in sorted((one, other)))
    assert price(fewer) <= price(more) * (1 + 1e-9)


@given(entities, shares, st.integers(1, 50), st.integers(1, 50), lookups)
def test_more_nodes_are_never_slower(size, share, nodes, added, served):
    fewer, more = (export(size, share, kept, served) for kept in (nodes, nodes + added))
    assert more.minutes <= fewer.minutes * (1 + 1e-9)


@given(entities, shares, lookups)
def test_a_plan_meets_its_target_within_the_recommended_cpu(size, share, served):
    planned = export(size, share, 3, served)
    assert planned.write_seconds <= estimate.TARGET_SECONDS * (1 + 1e-9)
    rate = planned.rows / planned.write_seconds
    assert rate <= spare_rate(planned.kept_nodes + planned.extra_nodes, served) * (1 + 1e-9)


@pytest.mark.parametrize(("size", "share", "limit"), [(1e6, 0.01, "start"), (1e10, 1, "nodes")])
def test_the_scarcest_part_limits_an_export(size, share, limit):
    assert export(size, share, 3, 20_000).limit == limit


def test_a_request_log_costs_only_if_it_is_kept_and_only_above_the_free_tier():
    assert bill(LARGE)["request log"] == 0
    assert bill(replace(LARGE, logs_requests=True))["request log"] > 0
    assert bill(replace(SMALL, logs_requests=True))["request log"] == 0
