"""The benchmark of the service: the load generator's counts, the alternatives' answers, and the report."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from contextlib import contextmanager

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.serving import endurance, experiments, report
from benchmarks.serving.candidates import OURS, READ_LOOP, Candidate, Question, bare, candidates, empty, official
from benchmarks.serving.endurance import Endurance, Sample
from benchmarks.serving.exchanges import KINDS, Exchange
from benchmarks.serving.load_generator import LoadOptions, LoadResult, percentiles, run
from benchmarks.serving.measurement import Bench, Measurement, WrongAnswersError, bench
from benchmarks.serving.predictions import CONSTANT, entity_id, payload, prediction
from benchmarks.serving.servers import Cores, pinned
from local_stack.servers import ROOT, running

pytestmark = pytest.mark.slow

ENTITIES = 500
RIGHT = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(CONSTANT), CONSTANT)
ALTERED = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(CONSTANT), CONSTANT.replace(b"0", b"1", 1))
LONGER = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n %b" % (len(CONSTANT) + 1, CONSTANT)
MISSING = b"HTTP/1.1 404 Not Found\r\ncontent-length: %d\r\n\r\n%b" % (len(CONSTANT), CONSTANT)
REFUSED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\ncontent-length: 4\r\n\r\nbusy"
FAILED = b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 0\r\n\r\n"
CLOSING = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 4\r\n\r\nbusy"


@contextmanager
def answering(answer):
    """A server that answers its n-th request with `answer(n)`: pieces of bytes to send, or None to hang up."""
    count = 0

    async def on_connection(reader, writer):
        nonlocal count
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                pieces = answer(count)
                count += 1
                if pieces is None:
                    break
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.001 if len(pieces) > 1 else 0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(on_connection, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def load_on(answer, **load):
    with answering(answer) as port:
        return run(LoadOptions(port, "constant", 1, **{"seconds": 0.2, "connections": 4, "patience": 1.0, **load}))


@pytest.mark.parametrize("rate", [None, 300.0])
def test_a_load_counts_right_answers(rate):
    result = load_on(lambda _: [RIGHT], rate=rate)
    assert result.sent == result.right >= result.in_time > 10
    assert (result.refused, result.failed, result.wrong, result.dropped) == (0, 0, 0, 0)
    assert 0 < result.p50_ms <= result.p99_ms <= result.p999_ms <= result.max_ms


def test_an_answer_may_come_in_pieces():
    result = load_on(lambda n: [RIGHT[: n % len(RIGHT)], RIGHT[n % len(RIGHT) :]])
    assert result.sent == result.right > 10


@pytest.mark.parametrize("answer", [ALTERED, LONGER, MISSING])
def test_a_load_counts_wrong_answers(answer):
    result = load_on(lambda n: [answer if n % 2 else RIGHT])
    assert result.right + result.wrong == result.sent
    assert abs(result.right - result.wrong) <= 1
    assert result.example == answer.decode()


def test_a_load_on_any_version_looks_at_predictions_only():
    version = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(CONSTANT), CONSTANT.replace(b"1795", b"1895"))
    assert load_on(lambda _: [version]).right == 0
    result = load_on(lambda n: [version if n % 2 else RIGHT], any_version=True)
    assert result.sent == result.right > 10
    prediction = RIGHT.replace(b"true", b"false").replace(b"false", b"null ")
    assert load_on(lambda _: [prediction], any_version=True).right == 0


def test_a_load_distinguishes_refusals_and_failures_from_wrong_answers():
    result = load_on(lambda n: [(RIGHT, REFUSED, FAILED)[n % 3]])
    assert result.right + result.refused + result.failed == result.sent
    assert min(result.right, result.refused, result.failed) >= result.sent // 3
    assert result.wrong == 0
    assert result.not_right == pytest.approx(2 / 3, abs=0.1)


@pytest.mark.parametrize("rate", [None, 300.0])
def test_a_load_goes_on_after_closed_connections_and_counts_their_requests(rate):
    result = load_on(lambda n: None if n % 5 == 4 else [RIGHT], rate=rate)
    assert result.dropped >= 2
    assert result.right > result.dropped
    assert result.right + result.dropped == result.sent


def test_a_load_does_not_reuse_a_connection_that_the_server_will_close():
    result = load_on(lambda n: [CLOSING] if n % 5 == 4 else [RIGHT])
    assert result.refused >= 2
    assert result.right + result.refused == result.sent


def test_an_open_loop_sends_requests_to_a_server_that_stalls():
    closed, opened = (
        load_on(lambda n: [RIGHT] if n else [b""], rate=rate, connections=c) for rate, c in ((None, 1), (300.0, 50))
    )
    assert (closed.sent, closed.dropped) == (1, 1)
    assert opened.right > 10
    assert opened.dropped == 1


def test_an_open_loop_counts_latency_from_the_time_at_which_a_request_was_due():
    slow = load_on(lambda _: [RIGHT[:5], *([b""] * 20), RIGHT[5:]], rate=300.0, connections=1)
    assert slow.in_time < slow.sent / 2
    assert slow.dropped > slow.sent / 2
    assert slow.max_ms > 100


def test_a_load_fails_if_no_server_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        run(LoadOptions(port, "constant", 1, seconds=0.1))


@given(st.lists(st.floats(1e-6, 60), min_size=1))
def test_percentiles_are_those_of_the_sorted_latencies(latencies):
    in_order = sorted(latencies)
    for found, share in zip(percentiles(latencies), (0.5, 0.99, 0.999, 1), strict=True):
        exact = in_order[max(0, -int(-share * len(in_order) // 1) - 1)]
        assert found == pytest.approx(exact * 1000, rel=2e-3, abs=2e-3)


def test_predictions_differ_and_their_payload_is_their_json():
    assert json.loads(payload(7)) == prediction(7)
    assert len({entity_id(n) for n in range(ENTITIES)}) == len({payload(n) for n in range(ENTITIES)}) == ENTITIES


@pytest.fixture(scope="module")
def at():
    with bench("auto", ENTITIES, 0.3) as made:
        yield made


@pytest.mark.parametrize("candidate", candidates("uvicorn", 8, feast=None), ids=lambda candidate: candidate.name)
def test_a_candidate_answers_what_the_service_would(at, candidate):
    for measurement in at.measure_all(candidate):
        result = measurement.result
        assert result.right > 0
        assert result.example == ""
        assert measurement.cpu_micros > 0


def test_bare_reads_are_checked(at):
    result = at.read_loop().result
    assert result.right > 10
    assert result.p50_ms > 0


def test_a_candidate_that_answers_something_else_is_not_measured(at):
    other = next(candidate for candidate in candidates("uvicorn", 8, None) if candidate.name == empty("uvicorn"))
    with at.running(other) as server, pytest.raises(WrongAnswersError, match="404"):
        at.measure(server, other.name, Question("lookups", 2))


def test_the_error_for_a_server_that_does_not_start_has_its_output(at):
    broken = Candidate(
        "broken", lambda _: [sys.executable, "-c", "exit('no such luck')"], "/", (Question("constant", 1),)
    )
    with pytest.raises(RuntimeError, match="no such luck"), at.running(broken):
        pass


def test_a_started_process_is_pinned_and_this_process_is_not():
    before = os.sched_getaffinity(0)
    cores = Cores.of_this_machine().service
    with pinned(cores):
        output = subprocess.check_output([sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"], text=True)
    assert output.strip() == str(cores)
    assert os.sched_getaffinity(0) == before


def test_an_unknown_kind_of_question_is_refused():
    with pytest.raises(ValueError, match="lookups"):
        Question("look_downs", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_exchanges_are_requests_and_bodies(kind):
    for exchange in KINDS[kind](ENTITIES)[:20]:
        assert isinstance(exchange, Exchange)
        assert json.loads(exchange.body)
        head, _, body = exchange.request.partition(b"\r\n\r\n")
        assert (f"Content-Length: {len(body)}".encode() in head) == head.startswith(b"POST")


HARSH_BIGTABLE = (sys.executable, "-W", "ignore", "-m", "benchmarks.serving.harsh_bigtable")


def test_a_share_of_the_reads_is_delayed(at):
    with running(*HARSH_BIGTABLE, at.address, "--slow-share", "0.25", "--slow-ms", "200") as line:
        environment = {**os.environ, "BIGTABLE_EMULATOR_HOST": line.split()[-1]}
        reading = [sys.executable, "-W", "ignore", "-m", "benchmarks.serving.read_loop", str(ENTITIES), "3"]
        result = LoadResult(**json.loads(subprocess.check_output(reading, cwd=ROOT, env=environment)))
    assert result.p99_ms >= 200
    assert result.p50_ms < 200


def test_the_harsh_bigtable_forwards_errors():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    with (
        running(*HARSH_BIGTABLE, address) as line,
        grpc.insecure_channel(line.split()[-1]) as channel,
        pytest.raises(grpc.RpcError) as raised,
    ):
        channel.unary_unary("/google.bigtable.v2.Bigtable/PingAndWarm")(b"", timeout=10)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


def measured(candidate, kind, connections, per_second, p50_ms=1.0, p99_ms=10.0, cpu_micros=100.0):
    result = LoadResult(
        int(per_second), int(per_second), in_time=int(per_second), seconds=1, p50_ms=p50_ms, p99_ms=p99_ms
    )
    return Measurement(candidate, Question(kind, connections), result, cpu_micros, 1.0, 0.5)


def runs_of(ours):
    return [
        measured(OURS, "lookups", 64, ours, p99_ms=20),
        measured(OURS, "lookups", 1, 1000, p50_ms=0.7),
        measured(OURS, "batches", 16, 900),
        measured(empty("uvicorn"), "constant", 64, 1000),
        measured(bare("uvicorn"), "constant", 64, 2000),
        measured(official("async"), "lookups", 64, 100, p99_ms=90),
        measured(READ_LOOP, "lookups", 1, 2000, p50_ms=0.5),
    ]


def test_the_comparison_has_a_row_with_ratios_for_each_candidate():
    grid = report.comparison([*runs_of(1600), *runs_of(1600), *runs_of(1000)])
    rows = {row[0]: row for row in grid.rows}
    assert len(grid.rows) == 7
    assert rows[empty("uvicorn")][-2:] == ("1.60", "1.00")
    assert rows[READ_LOOP][-2:] == ("0.50", "1.00")
    assert "medians of 3" in grid.title
    lines = grid.markdown().splitlines()
    assert {line.count("|") for line in lines} == {len(grid.head) + 1}


def overload():
    loads = tuple((factor, measured(OURS, "lookups", 8000, 1000 * min(factor, 1))) for factor in (0.5, 1, 3))
    return experiments.Overload(1000, loads)


def test_overload_is_reported_as_share_of_the_peak():
    assert [row[4] for row in report.overload_grid(overload()).rows] == ["50%", "100%", "100%"]


def test_a_long_load_is_reported_by_phase_and_drawn_by_minute():
    result = Endurance(1_000, refreshes=9, recovery_seconds=1.5)
    for number in range(30):
        phase = "load" if number < 20 else "overload" if number < 26 else "after"
        result.samples.append(Sample(phase, 10 * number + 5, 0.0, 0.0, 2.0 + number, 80.0, 40, 20))
    text = endurance.table(result)
    assert "3 minutes at 500 lookups/s" in text
    assert "| end of the load | 20.5 ms | 0.0% | 0.00% | 80 MiB | 40 | 20 |" in text
    svg = "{http://www.w3.org/2000/svg}"
    tree = ET.fromstring(endurance.plot(result.samples))  # noqa: S314  our own plot
    assert [len(line.get("points").split()) for line in tree.iter(f"{svg}polyline")] == [30] * 4
    assert not [*tree.iter(f"{svg}circle")]
    assert {"0", "0.5", "minutes", "resident memory"} <= {text.text for text in tree.iter(f"{svg}text")}


def test_the_service_endures_a_short_load():
    with bench("auto", ENTITIES, 0.2) as at:  # of its own: other tests expect the first version
        result = endurance.endure(at, minutes=0.01, refresh_minutes=0.003, overload_seconds=0.5)
    assert {sample.phase for sample in result.samples} == {"load", "overload", "after"}
    assert result.refreshes
    assert all(sample.files > 0 for sample in result.samples)
    assert any(sample.connections > 0 for sample in result.samples)


def test_the_conditions_have_the_load_average():
    grid = report.conditions("cbtemulator", 0.125, runs=3)
    assert {("load average before", "0.12"), ("Bigtable", "cbtemulator"), ("runs", "3")} <= set(grid.rows)
    assert report.document(overload(), {}, grid)["runs"]["sustainable"] == 1000


def test_hedged_reads_are_a_share_of_those_that_had_to_be_made():
    assert experiments.Hedging(0.05, measured(OURS, "lookups", 1, 1), 100, 5).hedged_share == 0.05


def test_the_document_has_a_place_for_the_table_of_endurance():
    assert "<!-- serving: endurance -->" in (ROOT / "docs" / "reliability.md").read_text()


def test_the_command_keeps_the_runs_and_tables_of_a_part(tmp_path):
    options = ["--entities", "100", "--runs", "1", "--seconds", "0.2", "--results", tmp_path]
    subprocess.run([sys.executable, "-m", "benchmarks.serving", "scaling", *options], cwd=ROOT, check=True)
    kept = json.loads((tmp_path / "serving.json").read_text())["scaling"]
    assert [run["candidate"] for run in kept["runs"]] == ["--workers 1", "--workers 2"]
    assert kept["runs"][0]["memory_mib"] > 50
    assert kept["conditions"]["entities"] == "100"
    assert [row[0] for row in kept["tables"]["scaling"]["rows"]] == ["--workers 1", "--workers 2"]


def test_lookups_are_measured_alone_and_during_writes(at):
    runs = experiments.writes(Bench(at.cores, at.entities, 0.5, at.bigtable, at.address), "granian", feast=None)
    assert [(measured.candidate, rate) for rate, measured in runs] == [
        (name, rate) for name in (OURS, official("async")) for rate in (0.0, experiments.WRITE_RATE)
    ]
    assert all(measured.result.right > 0 for _, measured in runs)
    assert len(report.writes_grid([*runs, *runs]).rows) == 4


def test_settings_are_measured_one_at_a_time(at, monkeypatch):
    monkeypatch.setattr(experiments, "SETTINGS", {"SERVING_CONNECTIONS": (1, 2)})
    runs = experiments.settings(Bench(at.cores, at.entities, 0.5, at.bigtable, at.address))
    assert [name for name, _ in runs] == ["SERVING_CONNECTIONS=1", "SERVING_CONNECTIONS=2"]
    assert [row[0] for row in report.settings_grid(runs).rows] == [name for name, _ in runs]


def test_latencies_are_measured_for_one_many_and_most_ids_on_a_slow_bigtable(at):
    short = Bench(at.cores, at.entities, 1.0, at.bigtable, at.address)
    runs = experiments.latencies(short, "granian", feast=None)
    asked = [(measurement.candidate, measurement.question.kind) for _, measurement in runs]
    kinds = ("lookups", "batches", "large_batches")
    ours = [(name, kind) for name in ("Foreserve", "Foreserve, official client") for kind in kinds]
    assert asked == [*ours, ("official async client", "lookups"), ("official async client", "batches")]
    assert all(measurement.result.p50_ms >= 3.3 for _, measurement in runs)
    grid = report.latencies_grid(runs)
    assert [row[1] for row in grid.rows] == ["one id", "100 ids", "1,000 ids"] * 2 + ["one id", "100 ids"]
    assert json.loads(json.dumps(report.document(runs, {"latencies": grid}, report.conditions("embedded", 0.0))))


def test_the_hedging_experiment_runs_with_each_budget(at):
    short = Bench(at.cores, at.entities, 0.1, at.bigtable, at.address)
    runs = experiments.hedging(short)
    assert [run.budget for run in runs] == [0, 0.05]
    assert all(run.reads > 0 for run in runs)
