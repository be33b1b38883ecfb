import pytest
from hypothesis import given
from hypothesis import strategies as st

from prediction_store.layout import MAX_ENTITY_ID_BYTES, cell_timestamp, row_key

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200)


@given(ids, st.sampled_from([("plain", 0), ("hashed", 5)]))
def test_a_row_key_ends_with_its_entity_id(id_, row_keys):
    name, prefix = row_keys
    assert row_key(id_, name)[prefix:].decode() == id_


def test_hashed_keys_of_sequential_ids_lie_apart():
    prefixes = {row_key(f"{number:08}", "hashed")[:2] for number in range(1000)}
    assert len(prefixes) > 200


def test_hashed_keys_start_with_four_digits_of_the_md5():
    assert row_key("00001", "hashed") == b"4c68#00001"


@pytest.mark.parametrize("id_", ["", "x" * (MAX_ENTITY_ID_BYTES + 1), "é" * (MAX_ENTITY_ID_BYTES // 2 + 1)])
def test_an_id_that_does_not_fit_is_refused(id_):
    with pytest.raises(ValueError, match=f"1 to {MAX_ENTITY_ID_BYTES} bytes"):
        row_key(id_, "plain")


def test_the_longest_id_makes_a_key_within_bigtables_limit():
    assert len(row_key("x" * MAX_ENTITY_ID_BYTES, "hashed")) == 4096


def test_timestamps_are_whole_milliseconds():
    assert cell_timestamp(1_764_000_000_001) == 1_764_000_000_001_000
