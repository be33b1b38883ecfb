"""Bulk writes to a server whose answers each test defines."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pyarrow as pa
import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from beam_jobs import bulk_writer
from beam_jobs.bulk_writer import BulkWriter, Target, WriteError
from beam_jobs.flow_control import FlowControl
from beam_jobs.mutations import prediction_entries
from prediction_store.messages import MutateRowsRequest, MutateRowsResponse
from tests.waiting import wait_for

OK, ABORTED, NOT_FOUND = 0, grpc.StatusCode.ABORTED.value[0], grpc.StatusCode.NOT_FOUND.value[0]


class Server:
    """Answers requests by `answer(number, request, context)`, which returns status codes by index. Keeps the rows.

    Statuses may also be pairs of index and code, to name an index twice.
    """

    def __init__(self, answer):
        self.answer = answer
        self.requests = []
        self.written = {}

    def mutate_rows(self, request, context):
        self.requests.append(request)
        statuses = self.answer(len(self.requests), request, context)
        for index, code in statuses.items() if isinstance(statuses, dict) else statuses:
            if code == OK:
                entry = request.entries[index]
                self.written[entry.row_key] = entry.mutations[0].set_cell.value
            answer = MutateRowsResponse.Entry(index=index, status={"code": code, "message": "as the test says"})
            yield MutateRowsResponse(entries=[answer])


@pytest.fixture
def serve_mutate_rows():
    """Start a server; return it and a writer to it."""
    servers = []

    def start(answer, deadline_seconds=5.0, flow_control=None, **options):
        server = Server(answer)
        handler = grpc.unary_stream_rpc_method_handler(
            server.mutate_rows,
            request_deserializer=MutateRowsRequest.FromString,
            response_serializer=MutateRowsResponse.SerializeToString,
        )
        grpc_server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.max_receive_message_length", -1)])
        service = grpc.method_handlers_generic_handler("google.bigtable.v2.Bigtable", {"MutateRows": handler})
        grpc_server.add_generic_rpc_handlers((service,))
        port = grpc_server.add_insecure_port("127.0.0.1:0")
        grpc_server.start()
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", bulk_writer.CHANNEL_OPTIONS)
        servers.append((grpc_server, channel))
        target = Target("projects/p/instances/i/tables/t", "batch", deadline_seconds)
        return server, BulkWriter(channel, target, flow_control or FlowControl(), **options)

    yield start
    for grpc_server, channel in servers:
        channel.close()
        grpc_server.stop(None)


def entries(rows):
    return prediction_entries(pa.array(rows.keys(), pa.binary()), pa.array(rows.values(), pa.binary()), "m", 5)


def write(writer, rows):
    writer.add(entries(rows))
    writer.flush()


def all_ok(_number, request, _context):
    return dict.fromkeys(range(len(request.entries)), OK)


ROWS = {b"%d" % n: b"v%d" % n for n in range(10)}


def test_every_row_is_written_once(serve_mutate_rows):
    server, writer = serve_mutate_rows(all_ok)
    write(writer, ROWS)
    assert server.written == ROWS
    assert [len(request.entries) for request in server.requests] == [10]
    assert (server.requests[0].table_name, server.requests[0].app_profile_id) == (
        "projects/p/instances/i/tables/t",
        "batch",
    )


def test_nothing_to_write_sends_nothing(serve_mutate_rows):
    server, writer = serve_mutate_rows(all_ok)
    writer.flush()
    assert server.requests == []


def test_requests_are_bounded_in_entries(serve_mutate_rows):
    server, writer = serve_mutate_rows(all_ok)
    rows = {b"%d" % n: b"v" for n in range(2 * bulk_writer.MAX_ENTRIES + 1)}
    write(writer, rows)
    assert sorted(len(request.entries) for request in server.requests) == [1, *[bulk_writer.MAX_ENTRIES] * 2]
    assert server.written == rows


def test_requests_are_bounded_in_bytes(serve_mutate_rows):
    server, writer = serve_mutate_rows(all_ok)
    rows = {b"%d" % n: b"x" * 3_000_000 for n in range(7)}
    write(writer, rows)
    assert max(request.ByteSize() for request in server.requests) <= bulk_writer.MAX_BYTES + 100  # and the table's name
    assert server.written == rows


def test_a_row_larger_than_a_request_goes_out_alone(serve_mutate_rows):
    server, writer = serve_mutate_rows(all_ok)
    rows = {b"0": b"v", b"1": b"x" * (bulk_writer.MAX_BYTES + 1), b"2": b"v"}
    write(writer, rows)
    assert [len(request.entries) for request in server.requests] == [1, 1, 1]
    assert server.written == rows


def test_small_batches_share_a_request(serve_mutate_rows):
    server, writer = serve_mutate_rows(all_ok)
    for key, value in ROWS.items():
        writer.add(entries({key: value}))
    writer.flush()
    assert server.written == ROWS
    assert len(server.requests) == 1


def test_only_the_entries_that_failed_are_sent_again(serve_mutate_rows):
    def second_fails_once(number, request, _context):
        return {i: ABORTED if number == 1 and i == 1 else OK for i in range(len(request.entries))}

    server, writer = serve_mutate_rows(second_fails_once)
    write(writer, ROWS)
    assert server.written == ROWS
    assert [[entry.row_key for entry in request.entries] for request in server.requests[1:]] == [[b"1"]]
    assert writer.take_tally().retries == 1


def test_entries_without_an_answer_are_sent_again(serve_mutate_rows):
    def half_an_answer(number, request, context):
        if number == 1:
            return {0: OK}
        return all_ok(number, request, context)

    server, writer = serve_mutate_rows(half_an_answer)
    write(writer, ROWS)
    assert server.written == ROWS
    assert len(server.requests[1].entries) == 9


@pytest.mark.parametrize("names", [[0, 0, 2], [0, 3, 0, 3]])
def test_an_answer_that_names_an_entry_twice_and_leaves_one_out_is_not_whole(serve_mutate_rows, names):
    def miscount(number, request, context):
        return [(index, OK) for index in names] if number == 1 else all_ok(number, request, context)

    server, writer = serve_mutate_rows(miscount)
    rows = dict(list(ROWS.items())[: len(names)])
    write(writer, rows)
    assert server.written == rows


def test_an_answer_in_any_order_is_whole(serve_mutate_rows):
    server, writer = serve_mutate_rows(
        lambda _number, request, _context: dict.fromkeys(reversed(range(len(request.entries))), OK)
    )
    write(writer, ROWS)
    assert len(server.requests) == 1


# Texts that Google's clients look for: java-bigtable's ConvertExceptionCallable, python-bigtable's data/_helpers.py.
RESETS = [
    "Received RST_STREAM with error code 2",
    "INTERNAL: HTTP/2 error code: INTERNAL_ERROR. Received Rst Stream",
    "Received unexpected EOS on DATA frame from server",
    "Stream closed before write could take place",
    "Authentication backend internal server error. Please retry.",
]


@pytest.mark.parametrize(("code", "text"), [("UNAVAILABLE", "moving tablets"), *(("INTERNAL", r) for r in RESETS)])
def test_a_request_is_sent_again_after_a_lost_connection_and_after_a_reset(serve_mutate_rows, code, text):
    def lost_once(number, request, context):
        if number == 1:
            context.abort(grpc.StatusCode[code], text)
        return all_ok(number, request, context)

    server, writer = serve_mutate_rows(lost_once)
    write(writer, ROWS)
    assert server.written == ROWS


@pytest.mark.parametrize(
    ("code", "text"), [("INTERNAL", "a bug"), ("RESOURCE_EXHAUSTED", "quota"), ("PERMISSION_DENIED", "no rights")]
)
def test_a_request_that_bigtable_refuses_fails_at_once(serve_mutate_rows, code, text):
    def refuse(_number, _request, context):
        context.abort(grpc.StatusCode[code], text)

    server, writer = serve_mutate_rows(refuse)
    with pytest.raises(WriteError, match=f"refused 10 rows, the first: b'0': {code} {text}"):
        write(writer, ROWS)
    assert len(server.requests) == 1


RETRY_INFO = RetryInfo(retry_delay=Duration(nanos=300_000_000))
DETAIL = Any()
DETAIL.Pack(RETRY_INFO)
STATUS = Status(code=8, details=[DETAIL])


@pytest.mark.parametrize(
    "metadata",
    [
        ("google.rpc.retryinfo-bin", RETRY_INFO.SerializeToString()),
        ("grpc-status-details-bin", STATUS.SerializeToString()),
    ],
)
def test_an_exhausted_resource_is_tried_again_after_the_delay_that_bigtable_wants(serve_mutate_rows, metadata):
    arrivals = []

    def exhausted_once(number, request, context):
        arrivals.append(time.monotonic())
        if number == 1:
            context.set_trailing_metadata([metadata])
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests")
        return all_ok(number, request, context)

    server, writer = serve_mutate_rows(exhausted_once)
    write(writer, ROWS)
    assert server.written == ROWS
    assert arrivals[1] - arrivals[0] >= 0.3


def test_a_delay_beyond_the_deadline_gives_up_at_once(serve_mutate_rows):
    def patient(_number, _request, context):
        info = RetryInfo(retry_delay=Duration(seconds=60))
        context.set_trailing_metadata([("google.rpc.retryinfo-bin", info.SerializeToString())])
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "later")

    server, writer = serve_mutate_rows(patient)
    with pytest.raises(WriteError, match="did not take within 5 s 10 rows"):
        write(writer, ROWS)
    assert len(server.requests) == 1


def test_a_row_that_bigtable_refuses_fails_with_its_key_and_reason(serve_mutate_rows):
    def refuse_third(_number, request, _context):
        return {i: NOT_FOUND if i == 3 else OK for i in range(len(request.entries))}

    server, writer = serve_mutate_rows(refuse_third)
    with pytest.raises(WriteError, match="Bigtable refused 1 rows, the first: b'3': NOT_FOUND as the test says"):
        write(writer, ROWS)
    assert len(server.requests) == 1


def test_after_the_deadline_it_gives_up(serve_mutate_rows):
    def never(_number, request, _context):
        return dict.fromkeys(range(len(request.entries)), ABORTED)

    server, writer = serve_mutate_rows(never, deadline_seconds=0.3)
    with pytest.raises(WriteError, match=r"did not take within 0.3 s 10 rows"):
        write(writer, ROWS)
    assert len(server.requests) > 2


def test_four_requests_are_in_flight_and_no_more(serve_mutate_rows):
    together = threading.Barrier(bulk_writer.MAX_IN_FLIGHT)
    answering = []
    most = []

    def four_at_a_time(number, request, context):
        answering.append(number)
        most.append(len(answering))
        together.wait(10)
        answering.remove(number)
        return all_ok(number, request, context)

    _, writer = serve_mutate_rows(four_at_a_time, deadline_seconds=30)
    write(writer, {b"%d" % n: b"v" for n in range(2 * bulk_writer.MAX_IN_FLIGHT * bulk_writer.MAX_ENTRIES)})
    assert max(most) == bulk_writer.MAX_IN_FLIGHT


def test_requests_in_flight_are_bounded_in_bytes(serve_mutate_rows):
    together = threading.Barrier(2)
    answering, most = [], []

    def note(number, request, context):
        answering.append(request.ByteSize())
        together.wait(10)
        most.append(sum(answering))
        together.wait(10)
        answering.remove(request.ByteSize())
        return all_ok(number, request, context)

    server, writer = serve_mutate_rows(note, deadline_seconds=30)
    rows = {b"%d" % n: b"x" * 7_000_000 for n in range(6)}
    write(writer, rows)
    assert server.written == rows
    assert max(most) <= bulk_writer.MAX_BYTES_IN_FLIGHT


def test_a_response_is_read_while_the_writer_waits_for_more_rows(serve_mutate_rows):
    # It waits for longer than a request may take, as when BigQuery stalls or the rate is limited.
    server, writer = serve_mutate_rows(all_ok, deadline_seconds=0.5)
    writer.add(entries({b"%d" % n: b"v" for n in range(bulk_writer.MAX_ENTRIES + 1)}))
    deadline = time.monotonic() + 0.5
    wait_for(lambda: time.monotonic() > deadline)
    writer.flush()
    assert len(server.requests) == 2
    assert writer.take_tally().retries == 0


def test_a_server_that_never_answers_is_given_up(serve_mutate_rows):
    released = threading.Event()

    def silent(number, request, context):
        released.wait(60)
        return all_ok(number, request, context)

    _, writer = serve_mutate_rows(silent, deadline_seconds=0.5)
    try:
        with pytest.raises(WriteError, match=r"did not take within 0.5 s 10 rows, the first: b'0': DEADLINE_EXCEEDED"):
            write(writer, ROWS)
    finally:
        released.set()


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"])
def test_an_error_by_overload_lowers_the_rate(serve_mutate_rows, code):
    rates = []

    def unavailable_once(number, request, context):
        rates.append(flow_control.rows_per_second)
        if number == 1:
            context.set_trailing_metadata([("google.rpc.retryinfo-bin", RetryInfo().SerializeToString())])
            context.abort(grpc.StatusCode[code], "overloaded")
        return all_ok(number, request, context)

    seconds = [0.0]
    flow_control = FlowControl(clock=lambda: seconds[0])
    limit = MutateRowsResponse()
    limit.rate_limit_info.factor = 1
    limit.rate_limit_info.period.FromMilliseconds(1)
    flow_control.follow(limit)
    before = flow_control.rows_per_second
    seconds[0] += 1
    _, writer = serve_mutate_rows(unavailable_once, flow_control=flow_control)
    write(writer, ROWS)
    assert rates == [before, pytest.approx(0.7 * before)]


def test_a_slow_rate_makes_small_requests(serve_mutate_rows):
    server, writer = serve_mutate_rows(all_ok, flow_control=FlowControl(max_rows_per_second=40))
    write(writer, {b"%d" % n: b"v" for n in range(50)})
    assert [len(request.entries) for request in server.requests] == [40, 10]


def test_nothing_is_sent_without_a_lease(serve_mutate_rows):
    def aborted():
        raise RuntimeError("aborted")

    server, writer = serve_mutate_rows(all_ok, seconds_allowed=aborted)
    with pytest.raises(RuntimeError, match="aborted"):
        write(writer, ROWS)
    assert server.requests == []


def test_a_request_ends_with_the_lease(serve_mutate_rows):
    remaining = []

    def note(number, request, context):
        remaining.append(context.time_remaining())
        return all_ok(number, request, context)

    _, writer = serve_mutate_rows(note, seconds_allowed=lambda: 3.0)
    write(writer, ROWS)
    assert 0 < max(remaining) < 3.5  # gRPC rounds up what it sends
