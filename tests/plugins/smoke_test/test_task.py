"""The smoke test as a task: what it does after each verdict of the load test."""

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from foreserve.operators import RunSmokeTest
from foreserve.operators.base import first_sentence
from foreserve.smoke_test import SmokeTest
from foreserve.smoke_test.comparison import Expectation, Finding
from foreserve.smoke_test.load_test import LoadReport, Timing
from foreserve.smoke_test.report import ReportFolder


def report(finding=None, lag_ms=0.0, milliseconds=5.0):
    timings = [Timing(f"id{i % 50}", i / 100, milliseconds, finding, lag_ms, 3.0) for i in range(100)]
    return LoadReport(100, {50: 5.0, 95: 5.0, 99: milliseconds}, milliseconds, timings)


PASSED, SLOW, LATE = report(), report(milliseconds=150), report(lag_ms=120, milliseconds=150)
UNCONNECTED = report(Finding("/x: ConnectTimeout", "unconnected"))


@pytest.fixture
def smoke_test(open_version, task, context, registry):
    """Runs the task with the given reports, one for each load test; returns what the registry has of it."""

    def run(*reports, folder=None):
        refresh, left = open_version(), list(reports)
        operator = task(RunSmokeTest, refresh, smoke_test=SmokeTest(requests=100), reports=folder)

        async def measure(*_):
            return left.pop(0)

        operator._measure, operator.pause_seconds = measure, 0
        operator._sample = lambda _: [Expectation("a", "1")]
        try:
            operator.execute(context())
        finally:
            assert left == []
        return registry.get(refresh.model).versions[refresh.version].details["smoke_test"]

    return run


def test_a_service_that_is_fast_passes(smoke_test, capsys):
    found = smoke_test(PASSED)
    assert (found["verdict"], found["service_p99_ms"], found["lag_p99_ms"]) == ("passed", 3.0, 0.0)
    assert "passed: 100 lookups of 50 entities at 100/s" in capsys.readouterr().out


@pytest.mark.parametrize("blamed", [LATE, UNCONNECTED])
def test_the_load_test_is_run_again_if_the_load_generator_was_to_blame(smoke_test, blamed):
    assert smoke_test(blamed, blamed, PASSED)["verdict"] == "passed"


def test_a_latency_report_that_cannot_be_written_hides_no_wrong_answer(smoke_test, tmp_path):
    file = tmp_path / "file"
    file.touch()
    folder = ReportFolder(str(file), None, "google_cloud_default")
    with pytest.raises(AirflowFailException, match="0 errors and 100 wrong answers"):
        smoke_test(report(Finding("/x: answered with another prediction", "wrong")), folder=folder)
    with pytest.raises(NotADirectoryError):
        smoke_test(PASSED, folder=folder)


FIELDS = "smoke_test_requests, smoke_test_rate and smoke_test_objective_p99_ms"


@pytest.mark.parametrize(
    ("blamed", "reason"),
    [(LATE, "no free CPU"), (UNCONNECTED, "got no connection to the service: /x: ConnectTimeout")],
)
def test_a_load_generator_that_is_to_blame_each_time_does_not_judge_the_service(smoke_test, blamed, reason):
    with pytest.raises(AirflowException, match=f"the service was not judged.*{reason}.*{FIELDS}") as error:
        smoke_test(blamed, blamed, blamed)
    assert not isinstance(error.value, AirflowFailException)
    assert FIELDS in first_sentence(error.value)  # which make refresh and the registry have


def test_a_slow_service_is_not_measured_again_by_this_try(smoke_test):
    match = f"p99 is 150.0 ms .by the service's own account 3.0 ms.; the objective is 100 ms.*{FIELDS}"
    with pytest.raises(AirflowException, match=match):
        smoke_test(SLOW)


@pytest.mark.parametrize("kind", ["wrong", "error", "timeout"])
def test_an_error_or_a_wrong_answer_fails_at_once(smoke_test, kind):
    with pytest.raises(AirflowFailException, match="the first: /x: odd"):
        smoke_test(report(Finding("/x: odd", kind)))
