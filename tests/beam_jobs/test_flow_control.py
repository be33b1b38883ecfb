"""The rules of Bigtable's batch write flow control, with a simulated clock."""

import base64

import pytest
from google.cloud.bigtable_v2.types import FeatureFlags

from beam_jobs.flow_control import FlowControl
from prediction_store.connection import FEATURES
from prediction_store.messages import MutateRowsResponse


class Clock:
    """A clock that only `sleep` advances."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


def limit(factor, seconds=10.0):
    answer = MutateRowsResponse()
    answer.rate_limit_info.factor = factor
    answer.rate_limit_info.period.FromMilliseconds(int(seconds * 1000))
    return answer


def rate(flow_control, clock, rows=2_000, requests=100):
    """The rate that is let through, in rows per second; None if it is unlimited."""
    flow_control.acquire(rows)
    start = clock.now
    for _ in range(requests):
        flow_control.acquire(rows)
    return rows * requests / (clock.now - start) if clock.now > start else None


def test_the_features_are_declared():
    name, value = FEATURES
    flags = FeatureFlags.deserialize(base64.urlsafe_b64decode(value))
    assert name == "bigtable-features"
    assert flags.mutate_rows_rate_limit
    assert flags.mutate_rows_rate_limit2
    assert flags.last_scanned_row_responses
    assert flags.retry_info


def test_nothing_waits_without_a_limit(clock):
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.follow(MutateRowsResponse())
    assert rate(flow_control, clock) is None


def test_a_cap_holds_from_the_start(clock):
    assert rate(FlowControl(5_000, clock, clock.sleep), clock) == pytest.approx(5_000)


def test_what_was_waited_is_returned(clock):
    flow_control = FlowControl(1_000, clock, clock.sleep)
    assert [flow_control.acquire(500) for _ in range(3)] == [0, 0.5, 0.5]


def test_time_that_passed_unused_is_not_made_up_for(clock):
    flow_control = FlowControl(1_000, clock, clock.sleep)
    flow_control.acquire(1_000)
    clock.sleep(60)
    assert [flow_control.acquire(1_000) for _ in range(2)] == [0, 1]


def test_the_first_limit_starts_at_a_thousand_rows_a_second(clock):
    # That is ten requests of Google's Java client, of 100 rows each.
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.follow(limit(1.0))
    assert rate(flow_control, clock) == pytest.approx(1_000)


@pytest.mark.parametrize(("factor", "expected"), [(0.8, 800), (1.2, 1_200), (0.01, 700), (50, 1_300)])
def test_a_factor_changes_the_rate_within_bounds(clock, factor, expected):
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.follow(limit(factor))
    assert rate(flow_control, clock) == pytest.approx(expected)


@pytest.mark.parametrize(("factor", "seconds"), [(0, 10), (-1, 10), (0.8, 0), (0.8, -1)])
def test_a_limit_without_a_factor_or_a_period_is_none(clock, factor, seconds):
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.follow(limit(factor, seconds))
    assert rate(flow_control, clock) is None


def test_the_rate_is_left_alone_for_the_period(clock):
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.follow(limit(1.0, seconds=10))
    clock.sleep(9)
    flow_control.follow(limit(0.7))
    assert flow_control.rows_per_second == pytest.approx(1_000)
    clock.sleep(1)
    flow_control.follow(limit(0.7))
    assert flow_control.rows_per_second == pytest.approx(700)


def test_an_error_by_overload_lowers_the_rate_once_in_ten_seconds(clock):
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.follow(limit(1.0, seconds=1))
    clock.sleep(1)
    flow_control.back_off()
    flow_control.back_off()
    assert flow_control.rows_per_second == pytest.approx(700)


def test_an_error_while_nothing_is_limited_lowers_the_rate_of_the_next_limit(clock):
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.back_off()
    assert rate(flow_control, clock) is None
    clock.sleep(10)
    flow_control.follow(limit(1.0))
    assert rate(flow_control, clock) == pytest.approx(700)


def test_the_limit_is_lifted_when_answers_come_without_one_for_a_period(clock):
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.follow(limit(1.0, seconds=10))
    flow_control.follow(MutateRowsResponse())
    assert flow_control.rows_per_second == pytest.approx(1_000)
    clock.sleep(10)
    flow_control.follow(MutateRowsResponse())
    assert rate(flow_control, clock) is None


def test_the_rate_is_kept_while_the_limit_is_lifted(clock):
    flow_control = FlowControl(clock=clock, sleep=clock.sleep)
    flow_control.follow(limit(1.3, seconds=10))
    clock.sleep(10)
    flow_control.follow(MutateRowsResponse())
    flow_control.follow(limit(1.3))
    assert rate(flow_control, clock) == pytest.approx(1_690)


def test_the_cap_holds_when_bigtable_asks_for_more(clock):
    flow_control = FlowControl(500, clock, clock.sleep)
    flow_control.follow(limit(1.3))
    assert rate(flow_control, clock) == pytest.approx(500)


def test_all_writers_of_a_process_share_the_rate(clock):
    # Two writers that send alternately get half of the rate each.
    flow_control = FlowControl(1_000, clock, clock.sleep)
    waits = [flow_control.acquire(100) + flow_control.acquire(100) for _ in range(10)]
    assert sum(waits) == pytest.approx(1.9)
