"""Entries that are joined byte by byte are the same as those that protobuf writes."""

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from beam_jobs.mutations import encode_row_keys, prediction_entries, purge_entries
from prediction_store.layout import MAX_ENTITY_ID_BYTES, row_key
from prediction_store.messages import MutateRowsRequest, prediction_entry, purge_entry

MODELS = st.from_regex(r"[a-z][a-z0-9_]{0,49}", fullmatch=True)
VERSIONS = st.integers(1, 2**53)
KEYS = st.binary(min_size=1, max_size=300)


def decoded(entries):
    """The entries, each parsed for itself."""
    bounds = zip(entries.offsets[:-1], entries.offsets[1:], strict=True)
    requests = [MutateRowsRequest.FromString(entries.encoded[start:end]) for start, end in bounds]
    assert all(len(request.entries) == 1 for request in requests)
    return [request.entries[0] for request in requests]


def expected_prediction(model, version, key, payload):
    entry, cell = prediction_entry(model, version)
    entry.row_key, cell.value = key, (payload or "").encode()
    return entry


@given(MODELS, VERSIONS, st.lists(st.tuples(KEYS, st.none() | st.text(min_size=1))))
@example("m", 1, [(b"k", "x" * size) for size in (1, 100, 127, 128, 16_383, 16_384, 2_097_152)])  # sizes of sizes
def test_predictions(model, version, rows):
    keys, payloads = (pa.array([row[i] for row in rows], kind) for i, kind in enumerate((pa.binary(), pa.string())))
    entries = prediction_entries(keys, payloads, model, version)
    assert len(entries) == len(rows)
    assert decoded(entries) == [expected_prediction(model, version, *row) for row in rows]


@given(MODELS, st.lists(KEYS), st.integers(0, 10**12), st.integers(2, 10**12))
def test_purges(model, keys, active, later):
    entries = purge_entries(pa.array(keys, pa.binary()), model, active, active + later)
    expected = purge_entry(model, active, active + later)
    for entry, key in zip(decoded(entries), keys, strict=True):
        expected.row_key = key
        assert entry == expected


@given(st.lists(st.text(min_size=1)), st.sampled_from(["plain", "hashed"]))
def test_row_keys(entity_ids, row_keys):
    encoded = encode_row_keys(pa.array(entity_ids, pa.string()), row_keys)
    assert encoded.to_pylist() == [row_key(entity_id, row_keys) for entity_id in entity_ids]


def test_a_slice_of_a_column_is_what_it_shows():
    column = pa.array(["a", "bb", "ccc", "dddd"])
    entries = prediction_entries(encode_row_keys(column[1:3], "plain"), column[2:4], "m", 5)
    assert decoded(entries) == [expected_prediction("m", 5, b"bb", "ccc"), expected_prediction("m", 5, b"ccc", "dddd")]


@pytest.mark.parametrize("row_keys", ["plain", "hashed"])
@pytest.mark.parametrize("entity_id", [None, "", "x" * (MAX_ENTITY_ID_BYTES + 1), "é" * (MAX_ENTITY_ID_BYTES // 2 + 1)])
def test_ids_that_are_no_row_keys_are_refused(entity_id, row_keys):
    with pytest.raises(ValueError, match=f"an entity id has 1 to {MAX_ENTITY_ID_BYTES} bytes of UTF-8"):
        encode_row_keys(pa.array(["fits", entity_id]), row_keys)


def test_an_empty_payload_is_refused():
    # As a cell, it would be a tombstone.
    with pytest.raises(ValueError, match="m: a payload is empty"):
        prediction_entries(pa.array([b"a", b"b"]), pa.array(["1", ""]), "m", 5)
