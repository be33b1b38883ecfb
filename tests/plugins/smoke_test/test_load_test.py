"""The load test, against a real HTTP server that misbehaves on request."""

import asyncio
import itertools
import json
from contextlib import asynccontextmanager

import httpx
import pytest

from foreserve.smoke_test import SmokeTest
from foreserve.smoke_test.comparison import Expectation, Finding
from foreserve.smoke_test.load_test import LoadReport, LoadTest, Timing

VERSION = 7
NO_PREDICTION = {"type": "/problems/no-prediction", "title": "No prediction", "status": 404}


@asynccontextmanager
async def service(answer, headers=""):
    """A service that answers by `answer`: entity id -> status, body, seconds until the answer."""

    async def serve(reader, writer):
        while line := await reader.readline():
            path = line.split()[1].decode()
            while (await reader.readline()).strip():
                pass
            assert path.endswith(f"?version={VERSION}")
            status, body, seconds = answer(path.split("/")[-1].split("?")[0])
            await asyncio.sleep(seconds)
            content = json.dumps(body).encode()
            head = f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
            writer.write(head.encode() + content)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        yield client
    server.close()


def load_test(client, requests=100, rate=500, **arguments):
    return LoadTest(client, "churn", VERSION, SmokeTest(requests=requests, rate=rate), **arguments)


def run(answer, expectations, **arguments):
    async def go():
        async with service(answer) as client:
            return await load_test(client, **arguments).run(expectations)

    return asyncio.run(go())


def right(_):
    return 200, {"version": VERSION, "prediction": {"p": 0.5}}, 0


EXPECTED = Expectation("a", '{"p": 0.50}')


@pytest.mark.parametrize(("entity_id", "segment"), [(".", "%2E"), ("..", "%2E%2E"), ("a/..", "a%2F.."), ("...", None)])
def test_ids_that_look_like_parts_of_a_path_are_looked_up(entity_id, segment):
    seen = set()

    def answer(path):
        seen.add(path)
        return right(path)

    report = run(answer, [Expectation(entity_id, '{"p": 0.5}')])
    assert (report.errors, report.mismatches) == (0, 0)
    assert seen == {segment or "%2E%2E%2E"}


def test_right_answers_are_counted_and_timed():
    report = run(right, [EXPECTED])
    assert (report.requests, report.errors, report.mismatches, report.examples) == (100, 0, 0, [])
    assert 0 < report.p50_ms <= report.p95_ms <= report.p99_ms <= report.max_ms


def test_a_wrong_prediction_is_a_mismatch():
    report = run(right, [Expectation("a", '{"p": 0.51}')])
    assert (report.errors, report.mismatches) == (0, 100)
    assert "another prediction than BigQuery's" in report.examples[0]
    assert len(report.examples) == 5


def test_another_version_is_a_mismatch():
    report = run(lambda _: (200, {"version": 6, "prediction": {"p": 0.5}}, 0), [EXPECTED])
    assert report.mismatches == 100
    assert "version 6 instead of 7" in report.examples[0]


@pytest.mark.parametrize(
    ("body", "counts"), [([1], (100, 0)), ({"hello": "world"}, (0, 100)), ({"version": VERSION}, (0, 100))]
)
def test_answers_of_something_else_than_the_service_are_counted(body, counts):
    report = run(lambda _: (200, body, 0), [EXPECTED])
    assert (report.errors, report.mismatches) == counts


def test_a_tombstone_is_no_prediction():
    report = run(lambda _: (404, NO_PREDICTION, 0), [Expectation("a", None)])
    assert (report.errors, report.mismatches) == (0, 0)


def test_a_missing_prediction_is_a_mismatch():
    report = run(lambda _: (404, NO_PREDICTION, 0), [EXPECTED])
    assert report.mismatches == 100


def test_a_prediction_that_should_be_gone_is_a_mismatch():
    report = run(right, [Expectation("a", None)])
    assert report.mismatches == 100


@pytest.mark.parametrize("problem", ["unknown-model", "unknown-version"])
def test_an_unknown_version_is_an_error_even_where_no_prediction_is_expected(problem):
    report = run(lambda _: (404, {"type": f"/problems/{problem}"}, 0), [Expectation("a", None)], up_to_date_seconds=0)
    assert report.errors == 100


@pytest.mark.parametrize("problem", ["unknown-model", "unknown-version"])
def test_the_load_begins_when_all_processes_of_the_service_know_the_version(problem):
    answers = itertools.count()

    def one_of_two_processes_is_behind(_):
        index = next(answers)
        return (404, {"type": f"/problems/{problem}"}, 0) if index < 30 and index % 2 else right(_)

    report = run(one_of_two_processes_is_behind, [EXPECTED])
    assert (report.errors, report.mismatches) == (0, 0)


def test_errors_count_by_entity():
    report = run(lambda id_: right(id_) if id_ == "a" else (503, {}, 0), [EXPECTED, Expectation("b", "{}")])
    assert (report.errors, report.mismatches) == (50, 0)
    assert "HTTP 503" in report.examples[0]


def test_ids_are_escaped():
    report = run(
        lambda id_: right(id_) if id_ == "a%2Fb%3F%20%C3%A9" else (400, {}, 0), [Expectation("a/b? é", '{"p":0.5}')]
    )
    assert report.errors == 0


def test_a_stall_shows_in_every_request_that_fell_into_it():
    """The whole service stalls, so every request that was due meanwhile is late."""
    stalled = asyncio.Event()

    async def go():
        loop = asyncio.get_running_loop()

        def answer(_):
            if not stalled.is_set() and loop.time() - start > 0.1:
                stalled.set()
                until = loop.time() + 0.5
                while loop.time() < until:  # blocks the event loop of the service
                    pass
            return right(_)

        async with service(answer) as client:
            start = loop.time()
            return await load_test(client, requests=200, rate=200).run([EXPECTED])

    report = asyncio.run(go())
    assert report.p95_ms > 350  # of the second that the load takes, half was due during the stall
    assert report.p50_ms > 0


def test_a_request_that_takes_too_long_is_an_error():
    def slow(id_):
        return (*right(id_)[:2], 60 if id_ == "b" else 0)

    report = run(slow, [EXPECTED] * 99 + [Expectation("b", '{"p":0.5}')], rate=1000, timeout=1)
    assert report.errors == 1
    assert "ReadTimeout" in report.examples[0]


def test_a_service_that_is_away_is_an_error():
    async def go():
        async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as client:
            return await load_test(client, rate=1000).run([EXPECTED])

    report = asyncio.run(go())
    assert report.errors == 100
    assert "ConnectError" in report.examples[0]


def report_of(*timings):
    timings = [*timings, *[Timing("a", 0, 5, None, 0, 3)] * (100 - len(timings))]
    p99 = sorted(timing.milliseconds for timing in timings)[98]
    return LoadReport(100, {50: 5, 95: 5, 99: p99}, timings=timings)


def problem(kind, lag=0.0):
    return Timing("b", 0, 5, Finding("odd", kind), lag)


SLOW = Timing("b", 0, 150, None, lag_ms=10, service_ms=140)
LATE = Timing("b", 0, 150, None, lag_ms=60, service_ms=3)
STALLED = Timing("b", 0, 5, None, lag_ms=30)


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (report_of(), "passed"),
        (report_of(SLOW), "passed"),  # one of a hundred
        (report_of(STALLED, STALLED), "passed"),  # the load generator was late, and the service fast all the same
        (report_of(SLOW, SLOW), "slow"),
        (report_of(LATE, LATE), "late"),
        (report_of(SLOW, SLOW, STALLED, STALLED), "late"),
        (report_of(LATE, LATE, problem("wrong")), "wrong"),
        (report_of(LATE, LATE, problem("error")), "errors"),
        (report_of(problem("timeout")), "errors"),
        (report_of(problem("timeout", lag=9_000), STALLED), "late"),
        (report_of(problem("unconnected")), "unconnected"),
        (report_of(problem("unconnected"), LATE, LATE), "late"),
    ],
)
def test_a_slow_service_is_told_from_a_load_generator_that_is_to_blame(report, verdict):
    assert report.verdict(100) == verdict


def test_the_load_test_knows_how_long_it_was_stalled_and_how_long_the_service_took():
    async def go():
        loop = asyncio.get_running_loop()

        def stall():
            until = loop.time() + 0.5
            while loop.time() < until:
                pass

        async with service(right, headers="Server-Timing: bigtable;dur=1.5, total;dur=2.5\r\n") as client:
            loop.call_later(0.3, stall)
            return await load_test(client, requests=200, rate=200).run([EXPECTED])

    report = asyncio.run(go())
    assert report.verdict(100) == "late"
    assert report.lag_p99_ms > 350  # half of the lookups were due during the stall
    assert report.service_p99_ms == 2.5


@pytest.mark.parametrize("requests", [100, 250])
def test_the_load_leaves_at_its_rate(requests):
    async def go():
        async with service(right) as client:
            start = asyncio.get_running_loop().time()
            await load_test(client, requests=requests).run([EXPECTED])
            return asyncio.get_running_loop().time() - start

    assert asyncio.run(go()) >= (requests - 1) / 500
