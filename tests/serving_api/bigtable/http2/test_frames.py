"""Frames and header fields, decoded by another implementation of the RFCs, and status codes."""

import pytest
from hpack import Decoder
from hypothesis import given
from hypothesis import strategies as st

from serving_api.bigtable.http2 import frames
from serving_api.bigtable.status import CallError

TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=700)


@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_header_fields_survive_encoding_and_decoding(fields):
    block = b"".join(frames.header_field(*field) for field in fields)
    assert Decoder(max_header_list_size=1 << 20).decode(block) == fields


@given(st.binary(max_size=50), st.integers(0, 30), st.booleans())
def test_padding_and_priority_are_removed(content, padding, has_priority):
    payload = bytes((padding,)) + (b"\0" * 5 if has_priority else b"") + content + bytes(padding)
    flags = frames.PADDED | (frames.PRIORITY if has_priority else 0)
    assert frames.unpadded(flags, payload) == content


def test_padding_beyond_the_frame_is_refused():
    with pytest.raises(ValueError, match="9 bytes of padding in a frame of 3"):
        frames.unpadded(frames.PADDED, b"\x09ab")


@pytest.mark.parametrize(
    ("headers", "code", "reason"),
    [
        ({"grpc-status": "14", "grpc-message": "try%20again"}, "UNAVAILABLE", "try again"),
        ({"grpc-status": "5"}, "NOT_FOUND", ""),
        ({"grpc-status": "99"}, "UNKNOWN", ""),
        ({"grpc-status": "x"}, "UNKNOWN", ""),
        ({":status": "503"}, "UNAVAILABLE", "HTTP status 503 without a gRPC status"),
        ({":status": "418"}, "UNKNOWN", "HTTP status 418 without a gRPC status"),
        ({}, "UNKNOWN", "HTTP status none without a gRPC status"),
    ],
)
def test_a_failure_is_named(headers, code, reason):
    error = CallError.from_trailers(headers)
    assert (error.code, error.reason) == (code, reason)
    assert error.is_transient == (code == "UNAVAILABLE")


def test_success_is_none():
    assert CallError.from_trailers({"grpc-status": "0"}) is None
