"""Effects of mutations on a row."""

import time

import pytest
from google.cloud.bigtable.data import (
    DeleteAllFromFamily,
    DeleteAllFromRow,
    DeleteRangeFromColumn,
    MutationsExceptionGroup,
    RowMutationEntry,
    SetCell,
)
from google.cloud.bigtable.data.read_modify_write_rules import AppendValueRule, IncrementRule
from google.cloud.bigtable_v2.types import MutateRowsRequest


def cell(version, value=b"v", family="churn", qualifier=b"p"):
    return SetCell(family, qualifier, value, timestamp_micros=version * 1000)


def versions(table, key=b"k"):
    return [micros // 1000 for _, _, micros, _ in table.read(keys=[key]).get(key, [])]


def test_writing_the_same_version_again_overwrites(table):
    table.write(b"k", cell(1, b"first"), cell(2))
    table.write(b"k", cell(1, b"second"))
    table.write(b"k", cell(1, b"third"), cell(1, b"fourth"))

    assert table.read() == {b"k": [("churn", b"p", 2000, b"v"), ("churn", b"p", 1000, b"fourth")]}


def test_an_empty_value_is_a_cell(table):
    table.write(b"k", cell(1, b""))

    assert table.read() == {b"k": [("churn", b"p", 1000, b"")]}


def test_the_server_sets_the_time_in_whole_milliseconds(table):
    before = time.time_ns() // 1_000_000
    table.write(b"k", SetCell("churn", b"p", b"v", timestamp_micros=-1))
    after = time.time_ns() // 1_000_000

    [(_, _, micros, _)] = table.read()[b"k"]
    assert micros % 1000 == 0
    assert before <= micros // 1000 <= after


@pytest.mark.parametrize(
    ("first", "end", "left"),
    [
        (None, None, []),
        (2000, None, [1]),
        (None, 3000, [4, 3]),
        (2000, 4000, [4, 1]),
        (5000, None, [4, 3, 2, 1]),
    ],
)
def test_delete_from_column_takes_a_half_open_range_of_time(table, first, end, left):
    table.write(b"k", *[cell(version) for version in (1, 2, 3, 4)])
    table.write(b"k", cell(9, qualifier=b"other"), cell(9, family="value"))

    table.write(b"k", DeleteRangeFromColumn("churn", b"p", first, end))

    cells = table.read()[b"k"]
    assert [micros // 1000 for family, qualifier, micros, _ in cells if (family, qualifier) == ("churn", b"p")] == left
    assert len(cells) == len(left) + 2


def test_delete_from_family_leaves_the_others(table):
    table.write(b"k", cell(1), cell(2, qualifier=b"q"), cell(3, family="value"))

    table.write(b"k", DeleteAllFromFamily("churn"))

    assert table.read() == {b"k": [("value", b"p", 3000, b"v")]}


def test_delete_from_row_leaves_no_row(table):
    table.write_all({b"k": [cell(1), cell(1, family="value")], b"other": [cell(1)]})

    table.write(b"k", DeleteAllFromRow())

    assert list(table.read()) == [b"other"]
    assert not table.client.row_exists(b"k")


def test_deleting_what_is_not_there_does_nothing(table):
    table.write(b"k", DeleteRangeFromColumn("churn", b"p"), DeleteAllFromFamily("churn"), DeleteAllFromRow())

    assert table.read() == {}


def test_mutations_of_a_row_are_applied_in_order(table):
    delete_from_3 = DeleteRangeFromColumn("churn", b"p", 3000)
    table.write(b"k", cell(1), DeleteAllFromRow(), cell(2), cell(3), delete_from_3, cell(4))

    assert versions(table) == [4, 2]


def test_a_deleted_row_can_be_written_again(table):
    table.write(b"k", cell(5))
    table.write(b"k", DeleteAllFromRow())
    table.write(b"k", cell(1))

    assert versions(table) == [1]
    assert list(table.read()) == [b"k"]


def test_a_row_may_occur_twice_in_one_request(table):
    request = [RowMutationEntry(b"k", cell(1)), RowMutationEntry(b"k", cell(2))]
    table.client.bulk_mutate_rows(request)

    assert versions(table) == [2, 1]


def test_a_bad_entry_fails_alone_and_the_others_are_written(table):
    entries = [
        RowMutationEntry(b"good", cell(1)),
        RowMutationEntry(b"bad", cell(1, family="nowhere")),
        RowMutationEntry(b"also-good", cell(1)),
    ]

    with pytest.raises(MutationsExceptionGroup) as failure:
        table.client.bulk_mutate_rows(entries)

    [failed] = failure.value.exceptions
    assert (failed.index, failed.entry.row_key) == (1, b"bad")
    assert 'unknown family "nowhere"' in str(failed.__cause__)
    assert list(table.read()) == [b"also-good", b"good"]


def test_every_entry_gets_a_status(table):
    entries = [
        {"row_key": b"%d" % number, "mutations": [{"set_cell": {"family_name": family, "timestamp_micros": micros}}]}
        for number, (family, micros) in enumerate([("churn", 1000), ("churn", 1001), ("nowhere", 1000), ("value", 0)])
    ]
    responses = list(table.emulator.rpc.mutate_rows(MutateRowsRequest(table_name=table.name, entries=entries)))

    statuses = {entry.index: entry.status for response in responses for entry in response.entries}
    assert {index: status.code == 0 for index, status in statuses.items()} == {0: True, 1: False, 2: False, 3: True}
    assert "invalid timestamp 1001" in statuses[1].message


def test_counters_and_appended_values(table):
    def add(amount, suffix):
        rules = [IncrementRule("churn", b"n", amount), AppendValueRule("value", b"s", suffix)]
        return table.client.read_modify_write_row(b"k", rules)

    add(2, b"ab")
    row = add(-5, b"c")

    assert row[("churn", b"n")][0].value == (-3).to_bytes(8, signed=True)
    assert row[("value", b"s")][0].value == b"abc"
    stored = table.client.read_row(b"k")
    assert stored[("churn", b"n")][0].value == (-3).to_bytes(8, signed=True)
    assert stored[("value", b"s")][0].value == b"abc"


def test_the_newest_cell_is_the_one_that_is_modified(table):
    later = (time.time_ns() // 1_000_000 + 60_000) * 1000
    table.write(b"k", SetCell("churn", b"s", b"old", 1000), SetCell("churn", b"s", b"new", later))

    table.client.read_modify_write_row(b"k", AppendValueRule("churn", b"s", b"er"))

    assert table.read()[b"k"] == [("churn", b"s", later, b"newer"), ("churn", b"s", 1000, b"old")]


def test_counters_wrap_around(table):
    table.write(b"k", SetCell("churn", b"n", (2**63 - 1).to_bytes(8), 1000))

    row = table.client.read_modify_write_row(b"k", IncrementRule("churn", b"n", 1))

    assert int.from_bytes(row.cells[0].value, signed=True) == -(2**63)
