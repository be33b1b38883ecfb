"""CheckAndMutateRow, used to switch the active version."""

import pytest
from google.cloud.bigtable.data import SetCell
from google.cloud.bigtable.data.row_filters import (
    CellsColumnLimitFilter,
    ColumnQualifierRegexFilter,
    FamilyNameRegexFilter,
    RowFilterChain,
    ValueRangeFilter,
    ValueRegexFilter,
)


def active(version):
    return SetCell("churn", b"active", version, timestamp_micros=0)


def active_is(value_filter):
    return RowFilterChain(
        [
            FamilyNameRegexFilter("churn"),
            ColumnQualifierRegexFilter(b"active"),
            CellsColumnLimitFilter(1),
            value_filter,
        ]
    )


def stored(table):
    row = table.client.read_row(b"model")
    return {cell.qualifier: cell.value for cell in row} if row else {}


@pytest.mark.parametrize("same", [ValueRegexFilter(b"17"), ValueRangeFilter(b"17", b"17")], ids=["regex", "range"])
@pytest.mark.parametrize(
    ("before", "switched", "after"),
    [(b"17", True, b"18"), (b"16", False, b"16"), (b"171", False, b"171"), (None, False, None)],
)
def test_the_version_is_switched_only_from_the_expected_one(table, same, before, switched, after):
    if before is not None:
        table.write(b"model", active(before))

    matched = table.client.check_and_mutate_row(b"model", active_is(same), true_case_mutations=active(b"18"))

    assert matched is switched
    assert stored(table).get(b"active") == after


def test_the_first_version_is_set_only_where_there_is_none(table):
    nothing_set = active_is(ValueRegexFilter(b".*"))

    first = table.client.check_and_mutate_row(b"model", nothing_set, false_case_mutations=active(b"1"))
    second = table.client.check_and_mutate_row(b"model", nothing_set, false_case_mutations=active(b"2"))

    assert (first, second) == (False, True)
    assert stored(table) == {b"active": b"1"}


def test_without_a_filter_the_row_itself_is_the_condition(table):
    cases = {
        "true_case_mutations": SetCell("churn", b"existed", b""),
        "false_case_mutations": SetCell("churn", b"new", b""),
    }

    assert table.client.check_and_mutate_row(b"model", None, **cases) is False
    assert table.client.check_and_mutate_row(b"model", None, **cases) is True
    assert stored(table) == {b"new": b"", b"existed": b""}


def test_an_old_value_behind_the_newest_does_not_match(table):
    table.write(b"model", SetCell("churn", b"active", b"17", timestamp_micros=1000))
    table.write(b"model", SetCell("churn", b"active", b"18", timestamp_micros=2000))

    matched = table.client.check_and_mutate_row(
        b"model", active_is(ValueRegexFilter(b"17")), true_case_mutations=active(b"99")
    )

    assert matched is False


def test_all_mutations_of_the_chosen_case_are_applied(table):
    table.client.check_and_mutate_row(
        b"model", None, false_case_mutations=[active(b"1"), SetCell("value", b"promoted_at", b"now")]
    )

    assert stored(table) == {b"active": b"1", b"promoted_at": b"now"}
