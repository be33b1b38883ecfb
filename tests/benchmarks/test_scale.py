"""The model of scale: its document, its monotonicity, and its agreement with the simulation."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from beam_jobs import bulk_writer, dataflow, flow_control
from benchmarks.document import filled
from benchmarks.scale.givens import Bigtable, Givens, Job
from benchmarks.scale.model import Load, cells, cost, monthly_cost, plan, process_rate, ramp, write_rate
from benchmarks.scale.report import LOADS, TABLES
from benchmarks.scale.simulation import simulate

DOCUMENT = Path(__file__).parents[2] / "docs/scale.md"
GIVENS = Givens()

entities = st.floats(1e4, 1e11)
shares = st.floats(1e-4, 1)
targets = st.sampled_from([15, 30, 60, 120, 300])


def choosing(**chosen):
    return replace(GIVENS, chosen=replace(GIVENS.chosen, **chosen))


def test_the_document_has_the_tables_that_the_code_prints():
    text = DOCUMENT.read_text()
    assert sorted(re.findall(r"<!-- scale: (\w+) -->", text)) == sorted(TABLES)
    assert filled(text, "scale", {table: make() for table, make in TABLES.items()}) == text


def test_the_model_has_the_writers_own_limits():
    job = Job()
    assert (job.rows_per_request, job.requests_in_flight, job.request_bytes, job.request_timeout) == (
        bulk_writer.MAX_ENTRIES,
        bulk_writer.MAX_IN_FLIGHT,
        bulk_writer.MAX_BYTES,
        bulk_writer._REQUEST_TIMEOUT,
    )
    assert (job.first_rate, job.slowest_rate, job.smallest_factor, job.largest_factor) == (
        flow_control._FIRST_RATE,
        flow_control._SLOWEST,
        flow_control._SMALLEST_FACTOR,
        flow_control._LARGEST_FACTOR,
    )
    assert job.rows_per_request <= Bigtable().mutations_per_request
    assert GIVENS.dataflow.threads == dataflow.HARNESS_THREADS


@given(entities, shares, shares, targets)
def test_more_rows_never_cost_less(size, one, other, target):
    givens = choosing(target_minutes=target)
    fewer, more = (plan(givens, Load(size, share)) for share in sorted((one, other)))
    assert cost(givens, fewer).total <= cost(givens, more).total * (1 + 1e-9)
    assert monthly_cost(givens, fewer) <= monthly_cost(givens, more) * (1 + 1e-9)


@given(entities, shares, st.integers(3, 50), st.integers(1, 50), targets)
def test_more_nodes_are_never_slower(size, share, nodes, added, target):
    fewer, more = (
        plan(choosing(target_minutes=target, least_nodes=kept), Load(size, share)) for kept in (nodes, nodes + added)
    )
    assert more.seconds <= fewer.seconds * (1 + 1e-9)


@given(entities, shares, targets)
def test_a_plan_keeps_its_target_within_the_recommended_cpu(size, share, target):
    givens = choosing(target_minutes=target)
    planned = plan(givens, Load(size, share))
    assert planned.rates["Bigtable nodes"] <= write_rate(givens, planned.nodes) * (1 + 1e-9)
    assume(planned.bound_by in {"Bigtable nodes", "start-up"})
    assert planned.write_seconds <= target * 60 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("givens", "load", "limit"),
    [
        (GIVENS, Load(1e6, 0.01), "start-up"),
        (GIVENS, Load(1e10, 1), "Bigtable nodes"),
        (choosing(least_nodes=200, request_seconds=10), Load(1e8, 1), "streams"),
        (replace(GIVENS, dataflow=replace(GIVENS.dataflow, max_workers=1)), Load(1e10, 1), "worker CPU"),
        (
            replace(
                choosing(target_minutes=30),
                dataflow=replace(GIVENS.dataflow, max_workers=1, network_bytes=1e7),
            ),
            Load(1e10, 1),
            "worker network",
        ),
    ],
)
def test_the_scarcest_part_binds(givens, load, limit):
    assert plan(givens, load).bound_by == limit


def test_cells_accumulate_up_to_what_garbage_collection_keeps():
    assert cells(GIVENS, 0.01, 0) == 1
    assert cells(GIVENS, 0.5, 1) == pytest.approx(1.5)
    assert cells(GIVENS, 1, 3) == 4
    assert cells(GIVENS, 1, 100) == 5
    assert cells(GIVENS, 0.01, 100_000) == pytest.approx(5)


@pytest.mark.parametrize("load", [load for load in LOADS if load.rows >= 1e6], ids=str)
def test_the_simulation_at_a_fixed_pace_agrees_with_the_formula_within_a_tenth(load):
    planned = plan(GIVENS, load)
    assert simulate(GIVENS, planned, "fixed").seconds == pytest.approx(planned.write_seconds, rel=0.1)


@settings(max_examples=20, deadline=None)
@given(st.floats(40_000, min(400_000, process_rate(GIVENS, "ours"))), st.integers(0, 1000))
def test_the_simulated_ramp_takes_as_long_as_the_formula_says_within_two_periods(rate, seed):
    seconds, rows = ramp(GIVENS, rate)
    alone = replace(
        plan(choosing(least_nodes=60), Load(rows, 1)), workers=1, processes=1, streams=12
    )  # 60 nodes: more than the process may have at the end of its ramp
    run = simulate(GIVENS, alone, "flow control", seed)
    assert abs(run.seconds - seconds) <= 2 * GIVENS.bigtable.flow_control_seconds


def test_flow_control_ends_an_overload_and_a_fixed_pace_never_causes_one():
    crowded = replace(plan(GIVENS, Load(1e10, 0.05)), workers=20, processes=36)
    assert simulate(GIVENS, crowded, "fixed").overload_seconds == 0
    assert 0 < simulate(GIVENS, crowded, "flow control").overload_seconds < 120


def test_the_same_seed_gives_the_same_run():
    planned = plan(GIVENS, Load(1e8, 0.05))
    assert simulate(GIVENS, planned, "flow control", 1) == simulate(GIVENS, planned, "flow control", 1)
