"""The same random writes and filters give the same cells on both implementations."""

from collections import Counter

import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud.bigtable_admin_v2.types import ColumnFamily
from google.cloud.bigtable_v2.types import MutateRowsRequest, ReadRowsRequest
from hypothesis import given, settings
from hypothesis import strategies as st

FAMILIES = st.sampled_from(["churn", "value"])
QUALIFIERS = st.sampled_from([b"", b"p", b"q\xff"])
VALUES = st.sampled_from([b"", b"1", b"12", b"2\n", b"\xff"])
MICROS = st.integers(0, 5).map(lambda version: version * 1000)
KEYS = st.sampled_from([b"a", b"a\x00", b"b", b"\xff"])


@st.composite
def time_ranges(draw):
    start, end = sorted(draw(st.lists(MICROS, min_size=2, max_size=2, unique=True)))
    return {"start_timestamp_micros": start, "end_timestamp_micros": draw(st.sampled_from([0, end]))}


MUTATIONS = st.one_of(
    st.fixed_dictionaries(
        {
            "set_cell": st.fixed_dictionaries(
                {
                    "family_name": FAMILIES,
                    "column_qualifier": QUALIFIERS,
                    "timestamp_micros": MICROS,
                    "value": VALUES,
                }
            )
        }
    ),
    st.fixed_dictionaries(
        {
            "delete_from_column": st.fixed_dictionaries(
                {"family_name": FAMILIES, "column_qualifier": QUALIFIERS}, optional={"time_range": time_ranges()}
            )
        }
    ),
    st.fixed_dictionaries({"delete_from_family": st.fixed_dictionaries({"family_name": FAMILIES})}),
    st.just({"delete_from_row": {}}),
)
ENTRIES = st.fixed_dictionaries({"row_key": KEYS, "mutations": st.lists(MUTATIONS, min_size=1, max_size=8)})


def ranges(kind, bounds):
    """Ranges whose bounds are open, closed or absent."""
    return st.builds(
        lambda start, end: dict(filter(None, (start, end))),
        st.none() | st.tuples(st.sampled_from([f"start_{kind}_open", f"start_{kind}_closed"]), bounds),
        st.none() | st.tuples(st.sampled_from([f"end_{kind}_open", f"end_{kind}_closed"]), bounds),
    )


CELL_FILTERS = st.one_of(
    st.just({"pass_all_filter": True}),
    st.just({"block_all_filter": True}),
    st.sampled_from(["churn", "val.e", ".*", "c"]).map(lambda regex: {"family_name_regex_filter": regex}),
    st.sampled_from([b"p", b"q.", b"q\xff", b"|p", b".+"]).map(lambda regex: {"column_qualifier_regex_filter": regex}),
    st.sampled_from([b"", b"1", b"1.?", b".*", b"2\\n", b"[^1]"]).map(lambda regex: {"value_regex_filter": regex}),
    st.sampled_from([b"a", b"a.?", b"\xff|b"]).map(lambda regex: {"row_key_regex_filter": regex}),
    time_ranges().map(lambda time_range: {"timestamp_range_filter": time_range}),
    ranges("value", VALUES).map(lambda values: {"value_range_filter": values}),
    st.builds(
        lambda family, qualifiers: {"column_range_filter": {"family_name": family, **qualifiers}},
        FAMILIES,
        ranges("qualifier", QUALIFIERS),
    ),
    st.integers(1, 3).map(lambda limit: {"cells_per_column_limit_filter": limit}),
    st.just({"strip_value_transformer": True}),
)
ONE_FAMILY = FAMILIES.map(lambda family: {"family_name_regex_filter": family})
# The cells that pass depend on the order of the families in a row, which Bigtable does not define.
ROW_LIMITS = st.integers(1, 4).flatmap(
    lambda count: st.sampled_from([{"cells_per_row_limit_filter": count}, {"cells_per_row_offset_filter": count}])
)


def chain(*filters):
    return {"chain": {"filters": list(filters)}}


CHAINS = st.one_of(
    CELL_FILTERS,
    st.builds(chain, CELL_FILTERS, CELL_FILTERS, CELL_FILTERS),
    st.builds(chain, CELL_FILTERS, ONE_FAMILY, CELL_FILTERS, ROW_LIMITS, CELL_FILTERS),
)
FILTERS = st.one_of(
    CHAINS,
    st.lists(CHAINS, min_size=2, max_size=3).map(lambda filters: {"interleave": {"filters": filters}}),
    st.fixed_dictionaries(
        {
            "condition": st.fixed_dictionaries(
                {"predicate_filter": CHAINS}, optional={"true_filter": CHAINS, "false_filter": CHAINS}
            )
        }
    ),
)
ROW_SETS = st.fixed_dictionaries(
    {}, optional={"row_keys": st.lists(KEYS, max_size=3), "row_ranges": st.lists(ranges("key", KEYS), max_size=2)}
)


def read(table, row_set, row_filter):
    """Return the cells of each row in the order received; None if the request is refused."""
    request = ReadRowsRequest(table_name=table.name, rows=row_set, filter=row_filter)
    rows, key, family, qualifier = {}, b"", "", b""
    try:
        responses = list(table.emulator.rpc.read_rows(request=request))
    except InvalidArgument:
        return None
    for response in responses:
        for chunk in type(response).pb(response).chunks:
            key = chunk.row_key or key
            family = chunk.family_name.value if chunk.HasField("family_name") else family
            qualifier = chunk.qualifier.value if chunk.HasField("qualifier") else qualifier
            rows.setdefault(key, []).append((family, qualifier, chunk.timestamp_micros, chunk.value))
    return rows


@pytest.fixture(scope="module")
def both(start):
    families = {"churn": ColumnFamily(), "value": ColumnFamily()}
    return [start(implementation).create_table(families) for implementation in ("cbtemulator", "embedded")]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(entries=st.lists(ENTRIES, min_size=1, max_size=6), row_set=ROW_SETS, row_filter=FILTERS)
def test_both_return_the_same_cells(both, entries, row_set, row_filter):
    found = []
    for table in both:
        table.emulator.admin.drop_row_range(request={"name": table.name, "delete_all_data_from_table": True})
        list(table.emulator.rpc.mutate_rows(MutateRowsRequest(table_name=table.name, entries=entries)))
        found.append(read(table, row_set, row_filter))
    official, embedded = found

    assert (embedded is None) is (official is None)
    assert list(embedded or ()) == list(official or ())
    for key, cells in (embedded or {}).items():
        assert Counter(cells) == Counter(official[key])
        if "interleave" not in row_filter:  # it may return a cell twice, in an order that Bigtable does not define
            assert cells == sorted(official[key], key=lambda cell: cell[0])
