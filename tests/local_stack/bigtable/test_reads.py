"""The rows and cells that a read returns, and their order."""

from datetime import UTC, datetime, timedelta

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud.bigtable.data import ReadRowsQuery, RowRange, SetCell
from google.cloud.bigtable.data.row_filters import (
    CellsColumnLimitFilter,
    ColumnQualifierRegexFilter,
    FamilyNameRegexFilter,
    RowFilterChain,
    StripValueTransformerFilter,
    TimestampRangeFilter,
)


def prediction(value, version, family="churn"):
    return SetCell(family, b"p", value, timestamp_micros=version * 1000)


def as_of(version, families="churn"):
    """Pass the newest cell of `p` in each family with at most this version."""
    return RowFilterChain(
        [
            FamilyNameRegexFilter(families),
            ColumnQualifierRegexFilter(b"p"),
            versions_between(0, version + 1),
            CellsColumnLimitFilter(1),
        ]
    )


def versions_between(start, end):
    """Pass cells with a version in `[start, end)`. `end` None means no upper bound."""
    return TimestampRangeFilter(at(start), None if end is None else at(end))


def at(version):
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=version)


@pytest.mark.parametrize(
    ("version", "expected"),
    [(9, None), (10, b"ten"), (19, b"ten"), (20, b""), (29, b""), (30, b"thirty"), (99, b"thirty")],
)
def test_a_version_sees_the_newest_cell_not_after_it(table, version, expected):
    table.write(b"ada", prediction(b"ten", 10), prediction(b"", 20), prediction(b"thirty", 30))

    row = table.client.read_row(b"ada", row_filter=as_of(version))

    assert (row and row.get_cells("churn", b"p")[0].value) == expected


def test_several_keys_come_back_in_key_order_and_once(table):
    table.write_all({key: [prediction(key, 1)] for key in (b"a", b"b", b"c", b"d")})

    rows = table.read(as_of(1), keys=[b"d", b"a", b"missing", b"d", b"b"])

    assert list(rows) == [b"a", b"b", b"d"]


def test_one_read_covers_several_families(table):
    table.write(b"ada", prediction(b"churns", 1), prediction(b"old", 1, "value"), prediction(b"new", 2, "value"))

    cells = table.read(as_of(2, "churn|value"), keys=[b"ada"])[b"ada"]

    assert sorted(cells) == [("churn", b"p", 1000, b"churns"), ("value", b"p", 2000, b"new")]


def test_cells_are_ordered_by_qualifier_and_newest_first(table):
    for version in (2, 1, 3):
        for qualifier in (b"b", b"a", b"\xff", b""):
            table.write(b"k", SetCell("churn", qualifier, b"v", timestamp_micros=version * 1000))

    cells = table.read()[b"k"]

    assert [(qualifier, micros) for _, qualifier, micros, _ in cells] == [
        (qualifier, version * 1000) for qualifier in (b"", b"a", b"b", b"\xff") for version in (3, 2, 1)
    ]


def test_the_cells_of_a_family_are_together(table):
    columns = [(family, qualifier) for qualifier in (b"a", b"b") for family in ("value", "churn")]
    table.write(b"k", *[SetCell(*column, b"v") for column in columns])

    families = [family for family, *_ in table.read()[b"k"]]

    assert families in (["churn", "churn", "value", "value"], ["value", "value", "churn", "churn"])


def test_rows_are_ordered_by_the_bytes_of_their_keys(table):
    text = ["10", "9", "Z", "a", "zo\u00eb", "\u65e5"]
    keys = [*(key.encode() for key in text), b"\x00", b"\x00\x00", b"a\x00", b"a\xff", b"\xff"]
    table.write_all({key: [prediction(b"v", 1)] for key in reversed(keys)})

    assert list(table.read()) == sorted(keys) == list(table.read(keys=keys))


KEYS = [b"a", b"b", b"b\x00", b"c", b"d"]


@pytest.mark.parametrize(
    ("row_range", "expected"),
    [
        (RowRange(), KEYS),
        (RowRange(start_key=b"b"), [b"b", b"b\x00", b"c", b"d"]),
        (RowRange(start_key=b"b", start_is_inclusive=False), [b"b\x00", b"c", b"d"]),
        (RowRange(end_key=b"c"), [b"a", b"b", b"b\x00"]),
        (RowRange(end_key=b"c", end_is_inclusive=True), [b"a", b"b", b"b\x00", b"c"]),
        (RowRange(b"b", b"b", end_is_inclusive=True), [b"b"]),
        (RowRange(b"b\x01", b"c"), []),
    ],
)
def test_row_ranges(table, row_range, expected):
    table.write_all({key: [prediction(b"v", 1)] for key in KEYS})

    assert list(table.read(row_ranges=[row_range])) == expected


def test_an_empty_end_key_is_the_end_of_the_table(table):
    table.write_all({key: [prediction(b"v", 1)] for key in KEYS})
    request = {"table_name": table.name, "rows": {"row_ranges": [{"start_key_closed": b"c", "end_key_open": b""}]}}

    responses = table.emulator.rpc.read_rows(request=request)

    assert [chunk.row_key for response in responses for chunk in response.chunks] == [b"c", b"d"]


def test_ranges_and_keys_are_united(table):
    table.write_all({key: [prediction(b"v", 1)] for key in KEYS})

    rows = table.read(keys=[b"d", b"a"], row_ranges=[RowRange(b"a", b"b"), RowRange(b"b", b"c")])

    assert list(rows) == [b"a", b"b", b"b\x00", b"d"]


def test_a_range_that_ends_before_it_starts_is_refused(table):
    request = {"table_name": table.name, "rows": {"row_ranges": [{"start_key_closed": b"b", "end_key_open": b"a"}]}}

    with pytest.raises(InvalidArgument, match="#0: start_key_closed must be less than end_key_open"):
        list(table.emulator.rpc.read_rows(request=request))


def test_the_limit_counts_rows_that_pass_the_filter(table):
    table.write_all({b"%d" % number: [prediction(b"v", number)] for number in range(1, 7)})

    assert list(table.read(as_of(9), limit=2)) == [b"1", b"2"]
    assert list(table.read(versions_between(3, None), limit=2)) == [b"3", b"4"]


def test_a_scan_finds_the_keys_of_cells_newer_than_a_version_without_their_values(table):
    table.write_all({b"old": [prediction(b"v", 1)], b"new": [prediction(b"v", 1), prediction(b"w", 5)]})

    newer = RowFilterChain([versions_between(2, None), StripValueTransformerFilter(flag=True)])

    assert table.read(newer) == {b"new": [("churn", b"p", 5000, b"")]}


def test_a_row_that_is_absent_reads_as_nothing(table):
    assert table.client.read_row(b"nobody") is None
    assert list(table.client.read_rows(ReadRowsQuery())) == []


def test_sampled_keys_are_in_order_and_end_with_the_end_of_the_table(table):
    table.write_all({b"%04d" % number: [prediction(b"x" * 10, 1)] for number in range(1000)})

    samples = table.client.sample_row_keys()

    keys, offsets = zip(*samples, strict=True)
    assert len(keys) > 2
    assert list(keys[:-1]) == sorted(keys[:-1])
    assert keys[-2:] == (b"0999", b"")
    assert list(offsets) == sorted(offsets)
    assert offsets[-1] == 10_000


def test_the_sampled_keys_of_an_empty_table_are_its_end(table):
    assert table.client.sample_row_keys() == [(b"", 0)]
