"""The cells of one row that pass each filter."""

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud.bigtable.data import SetCell
from google.cloud.bigtable_v2.types import ReadRowsRequest, RowFilter

CELLS = [
    ("churn", b"a", 3000, b"3"),
    ("churn", b"a", 2000, b"2"),
    ("churn", b"a", 1000, b""),
    ("churn", b"b\xff", 2000, b"\xfe\n"),
    ("churn", b"c", 1000, b"22"),
]
OTHER_FAMILY = ("value", b"a", 2000, b"2")
ALL = [*CELLS, OTHER_FAMILY]


def chain(*filters):
    return {"chain": {"filters": list(filters)}}


def interleave(*filters):
    return {"interleave": {"filters": list(filters)}}


CHURN = {"family_name_regex_filter": "churn"}
NEWEST = {"cells_per_column_limit_filter": 1}
PASS, BLOCK = {"pass_all_filter": True}, {"block_all_filter": True}


@pytest.fixture(scope="module")
def row(emulator):
    table = emulator.create_table({"churn": {}, "value": {}})
    table.write(b"customer#7", *[SetCell(family, qualifier, value, micros) for family, qualifier, micros, value in ALL])
    return table


def read(table, row_filter):
    """Return the cells that pass, in the order of the families in the lists above."""
    request = ReadRowsRequest(table_name=table.name, filter=RowFilter(row_filter))
    cells, family, qualifier = [], "", b""
    for response in table.emulator.rpc.read_rows(request=request):
        for chunk in response.chunks:
            pb = type(chunk).pb(chunk)
            family = pb.family_name.value if pb.HasField("family_name") else family
            qualifier = pb.qualifier.value if pb.HasField("qualifier") else qualifier
            cells.append((family, qualifier, pb.timestamp_micros, pb.value))
    return sorted(cells, key=lambda cell: cell[0])


@pytest.mark.parametrize(
    ("row_filter", "expected"),
    [
        ({}, ALL),
        (PASS, ALL),
        (BLOCK, []),
        (CHURN, CELLS),
        ({"family_name_regex_filter": "chur"}, []),
        ({"family_name_regex_filter": "chur.|nothing"}, CELLS),
        ({"column_qualifier_regex_filter": b"a"}, [*CELLS[:3], OTHER_FAMILY]),
        ({"column_qualifier_regex_filter": b"b."}, [CELLS[3]]),
        ({"column_qualifier_regex_filter": b"b\xff"}, [CELLS[3]]),
        ({"column_qualifier_regex_filter": b"a|c"}, [*CELLS[:3], CELLS[4], OTHER_FAMILY]),
        ({"value_regex_filter": b"2"}, [CELLS[1], OTHER_FAMILY]),
        ({"value_regex_filter": b"2+"}, [CELLS[1], CELLS[4], OTHER_FAMILY]),
        ({"value_regex_filter": b""}, [CELLS[2]]),
        ({"value_regex_filter": b".*"}, [*CELLS[:3], CELLS[4], OTHER_FAMILY]),  # a dot does not match a line feed
        ({"row_key_regex_filter": b"customer#[0-9]+"}, ALL),
        ({"row_key_regex_filter": b"customer"}, []),
        ({"column_range_filter": {"family_name": "churn"}}, CELLS),
        ({"column_range_filter": {"family_name": "churn", "start_qualifier_closed": b"b\xff"}}, CELLS[3:]),
        ({"column_range_filter": {"family_name": "churn", "start_qualifier_open": b"b\xff"}}, CELLS[4:]),
        ({"column_range_filter": {"family_name": "churn", "end_qualifier_closed": b"a"}}, CELLS[:3]),
        ({"column_range_filter": {"family_name": "churn", "end_qualifier_open": b"a"}}, []),
        ({"column_range_filter": {"family_name": "other"}}, []),
        ({"value_range_filter": {"start_value_closed": b"2", "end_value_closed": b"2"}}, [CELLS[1], OTHER_FAMILY]),
        ({"value_range_filter": {"start_value_open": b"2"}}, [CELLS[0], CELLS[3], CELLS[4]]),
        ({"value_range_filter": {"start_value_open": b""}}, [*CELLS[:2], *CELLS[3:], OTHER_FAMILY]),
        ({"value_range_filter": {"end_value_open": b"2"}}, [CELLS[2]]),
        ({"timestamp_range_filter": {"start_timestamp_micros": 2000}}, [*CELLS[:2], CELLS[3], OTHER_FAMILY]),
        ({"timestamp_range_filter": {"end_timestamp_micros": 2000}}, [CELLS[2], CELLS[4]]),
        ({"timestamp_range_filter": {"start_timestamp_micros": 2000, "end_timestamp_micros": 1000}}, []),
        (NEWEST, [CELLS[0], *CELLS[3:], OTHER_FAMILY]),
        ({"cells_per_column_limit_filter": 2}, [*CELLS[:2], *CELLS[3:], OTHER_FAMILY]),
        (chain(CHURN, {"cells_per_row_limit_filter": 2}), CELLS[:2]),
        (chain(CHURN, {"cells_per_row_limit_filter": 4}, NEWEST), [CELLS[0], CELLS[3]]),
        (chain(CHURN, {"cells_per_row_offset_filter": 2}), CELLS[2:]),
        (chain(CHURN, {"cells_per_row_offset_filter": 5}), []),
        (chain(CHURN, {"strip_value_transformer": True}), [(*cell[:3], b"") for cell in CELLS]),
        (chain(CHURN, BLOCK, PASS), []),
        (chain({"value_regex_filter": b"2"}, NEWEST), [CELLS[1], OTHER_FAMILY]),
        (chain(NEWEST, {"value_regex_filter": b"2"}), [OTHER_FAMILY]),
        (interleave(CHURN, {"family_name_regex_filter": "value"}), ALL),
        (interleave(BLOCK, {"value_regex_filter": b"2"}), [CELLS[1], OTHER_FAMILY]),
        (chain({"column_qualifier_regex_filter": b"c"}, interleave(PASS, PASS)), [CELLS[4], CELLS[4]]),
        (interleave({"value_regex_filter": b"3"}, chain(CHURN, {"value_regex_filter": b"2+"})), [*CELLS[:2], CELLS[4]]),
        ({"condition": {"predicate_filter": {"value_regex_filter": b"3"}, "true_filter": CHURN}}, CELLS),
        ({"condition": {"predicate_filter": {"value_regex_filter": b"4"}, "true_filter": CHURN}}, []),
        ({"condition": {"predicate_filter": {"value_regex_filter": b"4"}, "false_filter": CHURN}}, CELLS),
        ({"condition": {"predicate_filter": {"value_regex_filter": b"3"}, "false_filter": CHURN}}, []),
    ],
    ids=str,
)
def test_filter(row, row_filter, expected):
    assert read(row, row_filter) == expected


@pytest.mark.parametrize(
    ("row_filter", "message"),
    [
        ({"pass_all_filter": False}, "pass_all_filter"),
        ({"block_all_filter": False}, "block_all_filter"),
        ({"cells_per_column_limit_filter": 0}, "cells_per_column_limit_filter"),
        ({"cells_per_row_limit_filter": -1}, "cells_per_row_limit_filter"),
        ({"family_name_regex_filter": "("}, "family_name_regex_filter"),
        ({"column_qualifier_regex_filter": b"["}, "column_qualifier_regex_filter"),
        ({"value_regex_filter": b"*"}, "value_regex_filter"),
        ({"row_key_regex_filter": b"a{2,1}"}, "row_key_regex_filter"),
        (chain(PASS), "Chain must contain at least two"),
        (interleave(PASS), "Interleave must contain at least two"),
        (interleave(PASS, {"value_regex_filter": b"("}), "value_regex_filter"),
    ],
    ids=str,
)
def test_a_filter_that_makes_no_sense_is_refused(row, row_filter, message):
    with pytest.raises(InvalidArgument, match=message):
        read(row, row_filter)
