"""The judge of a campaign finds each broken promise, fed with the answers of a service that breaks it."""

import time

import httpx
import pytest

from tests.chaos.oracle import Oracle

OLD, NEW = 1, 2
OLD_PREDICTIONS, NEW_PREDICTIONS = {"a": 10, "b": 11}, {"a": 20, "b": 11, "c": 22}


@pytest.fixture
def oracle():
    """A judge that knows two versions. The active one has not gone back, which the service knows as of time 100."""
    oracle = Oracle()
    oracle.snapshots = {OLD: OLD_PREDICTIONS, NEW: NEW_PREDICTIONS, 3: {}}
    oracle.activated = {OLD: 1.0, NEW: 50.0}
    oracle.known_at = 100.0
    return oracle


def batch(version, **predictions):
    return httpx.Response(200, json={"version": version, "predictions": predictions})


def lookup(version, prediction):
    return httpx.Response(200, json={"entity_id": "a", "version": version, "prediction": prediction})


def problem(status, title):
    return httpx.Response(status, json={"title": title, "status": status})


@pytest.mark.parametrize(
    ("ids", "answer", "seen"),
    [
        ("ab", batch(NEW, a=20, b=11), OLD),
        ("ac", batch(OLD, a=10, c=None), OLD),
        ("a", lookup(NEW, 20), OLD),
        ("a", problem(503, "Store unavailable"), NEW),
        ("a", problem(504, "Deadline exceeded"), NEW),
    ],
)
def test_right_answers_are_no_violations(oracle, ids, answer, seen):
    oracle.judge([*ids], answer, seen, oracle.known_at)
    assert not oracle.violations


@pytest.mark.parametrize(
    ("ids", "answer", "seen", "message"),
    [
        ("ac", batch(NEW, a=10, c=22), OLD, "predicted {'a': 20}, the answer is {'a': 10}"),  # two versions in one
        ("ac", batch(OLD, a=10, c=22), OLD, "predicted {'c': None}, the answer is {'c': 22}"),
        ("a", lookup(NEW, 10), OLD, "predicted {'a': 20}"),  # another version's value
        ("ab", batch(NEW, a=20, b=None), NEW, "predicted {'b': 11}"),  # a lost value
        ("ab", batch(NEW, a=20), NEW, "the answer has"),
        ("a", lookup(OLD, 10), NEW, "1 was answered after 2 without a rollback"),
        ("a", lookup(3, None), NEW, "3 was never active"),  # computed, but not promoted
        ("a", lookup(4, 20), NEW, "4 was never active"),
        ("a", problem(404, "No prediction"), NEW, "404 for"),
        ("a", problem(404, "Unknown model"), NEW, "404 for"),
        ("a", problem(500, "Internal Server Error"), NEW, "500: "),
        ("a", problem(503, "Internal Server Error"), NEW, "503: "),
        ("a", problem(429, "Overloaded"), NEW, "429: "),
    ],
)
def test_each_broken_promise_is_a_violation(oracle, ids, answer, seen, message):
    oracle.judge([*ids], answer, seen, oracle.known_at)
    assert len(oracle.violations) == 1
    assert message in oracle.violations[0]


def test_an_older_version_is_right_after_a_rollback_that_the_service_did_not_know(oracle):
    oracle.go_back()
    oracle.judge(["a"], lookup(OLD, 10), NEW, since=oracle.went_back - 1)
    assert not oracle.violations
    oracle.judge(["a"], lookup(OLD, 10), NEW, since=oracle.went_back)
    assert "without a rollback" in oracle.violations[0]


def test_a_rollback_whose_outcome_is_unknown_may_come_until_a_later_step(oracle):
    oracle.go_back("abort")
    oracle.judge(["a"], lookup(OLD, 10), NEW, since=time.monotonic() + 1000)
    oracle.go_back()
    oracle.judge(["a"], lookup(OLD, 10), NEW, since=time.monotonic() + 1000)
    assert not oracle.violations
    oracle.settle("abort")
    oracle.judge(["a"], lookup(OLD, 10), NEW, since=time.monotonic() + 1)
    assert "without a rollback" in oracle.violations[0]


def test_an_old_registry_comes_into_force_with_its_next_writer(oracle):
    oracle.is_lost = True
    oracle.judge(["a"], lookup(OLD, 10), NEW, since=oracle.known_at)
    assert not oracle.violations
    oracle.go_back()
    oracle.is_lost = False
    oracle.judge(["a"], lookup(OLD, 10), NEW, since=time.monotonic() + 1)
    assert "without a rollback" in oracle.violations[0]


def test_the_age_that_the_service_tells_is_all_that_is_allowed(oracle):
    oracle.learn(asked=110.0, age=0.5)
    assert oracle.known_at == pytest.approx(109.5, abs=0.01)
    oracle.learn(asked=111.0, age=4.0)
    assert oracle.known_at == pytest.approx(109.5, abs=0.01)
    oracle.behind.append((111.0, 113.0))
    oracle.learn(asked=112.5, age=0.1)
    assert oracle.known_at == pytest.approx(109.5, abs=0.01)
    assert oracle.largest_age == pytest.approx(3.0, abs=0.01)


def test_silence_is_a_violation_unless_the_service_was_stopped(oracle):
    oracle.is_disturbed = True
    oracle.judge_silence(100.0, "timeout")
    oracle.is_disturbed, oracle.disturbed_until = False, 101.0
    oracle.judge_silence(100.5, "timeout")
    assert not oracle.violations
    oracle.judge_silence(101.5, "timeout")
    assert oracle.violations == ["no answer: 'timeout'"]


def test_lost_cells_may_be_missing_but_never_another_versions(oracle):
    oracle.is_lost = True
    oracle.judge(["a", "b"], batch(NEW, a=None, b=None), NEW, oracle.known_at)
    oracle.judge(["a"], problem(404, "Unknown model"), NEW, oracle.known_at)
    assert not oracle.violations
    oracle.judge(["a"], lookup(NEW, 10), NEW, oracle.known_at)
    assert len(oracle.violations) == 1
