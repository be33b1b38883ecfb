"""Records of requests and reads: ids, timings, metrics."""

import re

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving_api.telemetry.correlation import Correlation
from tests.waiting import eventually

pytestmark = pytest.mark.asyncio

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_answers_have_the_id_of_the_request_or_a_new_one(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        seen = set()
        for path, status in (
            ("/v1/models/m/predictions/a", 200),
            ("/v1/models/m/predictions/absent", 404),
            ("/v1/entities/things/a/predictions", 200),
            ("/v1/models/none", 404),
            ("/nowhere", 404),
            ("/healthz", 200),
        ):
            response = await client.get(path, headers={"X-Request-Id": "an id"})
            assert (response.status_code, response.headers["x-request-id"]) == (status, "an id")
            for given_id in ("", "é", "x" * 129, "a\tb"):
                headers = {"X-Request-Id": given_id.encode()}
                response = await client.get(path, headers=headers)
                own = response.headers["x-request-id"]
                assert re.fullmatch(r"[0-9a-f]{12}-[0-9a-f]+", own)
                seen.add(own)
        assert len(seen) == 24


@given(st.binary(max_size=200))
async def test_a_request_id_is_always_valid_in_a_header(given_id):
    correlation = Correlation("p")
    taken = correlation.request_id({b"x-request-id": given_id})
    assert re.fullmatch(rb"[\x20-\x7e]{1,128}", taken)
    assert (taken == given_id) == bool(re.fullmatch(rb"[\x20-\x7e]{1,128}", given_id))


@pytest.mark.parametrize("header", ["", "00-xyz", f"00-{TRACE}-{SPAN}", f"00-{TRACE.upper()}-{SPAN}-01"])
async def test_an_invalid_traceparent_is_ignored(header):
    fields = Correlation("p").log_fields({b"traceparent": header.encode()}, b"r")
    assert fields == {"request_id": "r"}


async def test_answers_have_their_duration(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        for response in (
            await client.lookup("m", "a"),
            await client.batch("m", ["a", "b"]),
            await client.get("/v1/entities/things/a/predictions"),
        ):
            assert response.status_code == 200
            timing = dict(re.findall(r"(\w+);dur=([\d.]+)", response.headers["server-timing"]))
            assert 0 < float(timing["bigtable"]) <= float(timing["total"])


async def test_a_shared_read_is_timed_once_by_stage(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        await client.batch("m", [f"k{n}" for n in range(16)])
        for stage in ("queue", "bigtable"):
            assert await client.metric("foreserve_stage_seconds_count", stage=stage) == 1
        assert 0 < await client.metric("foreserve_stage_seconds_sum", stage="bigtable") < 10


async def test_failed_and_aborted_reads_are_counted(wire, serve):
    wire.failing[b"broken"] = grpc.StatusCode.PERMISSION_DENIED
    wire.hold(b"slow")
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", deadline_seconds=0.2) as client:
        assert (await client.lookup("m", "broken")).status_code == 503
        assert (await client.lookup("m", "slow")).status_code == 504
        for code in ("PERMISSION_DENIED", "DEADLINE_EXCEEDED"):
            assert await client.metric("foreserve_read_failures_total", code=code) == 1
        wire.release(b"slow")


async def test_a_hedged_read_that_fails_too_is_not_counted_as_won(wire, serve):
    wire.failing[b"a"] = grpc.StatusCode.UNAVAILABLE
    async with wire.listening() as port, serve(f"127.0.0.1:{port}") as client:
        assert (await client.lookup("m", "a")).status_code == 503
        assert await client.metric("foreserve_hedged_reads_total") == 1
        assert await client.metric("foreserve_hedged_reads_won_total") == 0


@pytest.mark.http2_client
async def test_connections_are_counted(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", connections=3) as client:
        assert await client.metric("foreserve_connections_ready") == 3
        assert await client.metric("foreserve_connections_opened_total") == 3
        assert await client.metric("foreserve_connection_failures_total") == 0
    async with serve("127.0.0.1:1", connections=2) as client:
        assert await client.metric("foreserve_connections_ready") == 0

        async def tried():
            return await client.metric("foreserve_connection_failures_total") >= 2

        await eventually(tried)
        assert await client.metric("foreserve_connections_opened_total") == 0


async def test_limits_build_and_event_loop_lag_are_exposed(wire, serve):
    async with wire.listening() as port, serve(f"127.0.0.1:{port}", max_in_flight=1234, build="b7") as client:
        assert await client.metric("foreserve_lookups_in_flight_limit") == 1234
        assert await client.metric("foreserve_build_info", build="b7") == 1

        async def probed():
            return await client.metric("foreserve_event_loop_lag_seconds_count") > 0

        await eventually(probed)
