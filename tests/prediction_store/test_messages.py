import pytest

from prediction_store.connection import mutate_rows, read_rows, routing_metadata
from prediction_store.layout import cell_timestamp
from prediction_store.lifecycle import ModelState
from prediction_store.messages import (
    MutateRowsRequest,
    ReadRowsRequest,
    RowAssembler,
    prediction_entry,
    prediction_filter,
    purge_entry,
    read_request,
    stale_filter,
)


@pytest.fixture
def write(instance, data_channel):
    """Write cells of one version: `write(model, version, {row key: value})`."""
    table = instance.table("customer")

    def write_cells(model, version, cells):
        entry, cell = prediction_entry(model, version)
        request = MutateRowsRequest(table_name=table)
        for key, value in cells.items():
            entry.row_key, cell.value = key, value
            request.entries.append(entry)
        send(request)

    def send(request):
        for response in mutate_rows(data_channel)(request.SerializeToString(), metadata=(routing_metadata(table, ""),)):
            assert all(answer.status.code == 0 for answer in response.entries)

    write_cells.send = send
    write_cells.table = table
    return write_cells


@pytest.fixture
def read(instance, data_channel):
    """Read rows through a filter, as {row key: {family: value}}."""
    table = instance.table("customer")

    def read_cells(keys, row_filter):
        assembler = RowAssembler()
        request = read_request(table, "", keys, row_filter)
        responses = read_rows(data_channel)(request, metadata=(routing_metadata(table, ""),))
        return dict(row for response in responses for row in assembler.feed(response))

    return read_cells


def test_a_version_reads_the_newest_cell_that_is_not_newer(model, write, read):
    write(model, 10, {b"a": b"1", b"b": b"1"})
    write(model, 20, {b"a": b"2"})
    assert read([b"a", b"b"], prediction_filter({model: 20})) == {b"a": {model: b"2"}, b"b": {model: b"1"}}
    assert read([b"a", b"b"], prediction_filter({model: 19})) == {b"a": {model: b"1"}, b"b": {model: b"1"}}
    assert read([b"a"], prediction_filter({model: 9})) == {}


def test_a_tombstone_hides_the_prediction_from_its_version_on(model, write, read):
    write(model, 10, {b"a": b"1"})
    write(model, 20, {b"a": b""})
    assert read([b"a"], prediction_filter({model: 10})) == {b"a": {model: b"1"}}
    assert read([b"a"], prediction_filter({model: 20})) == {b"a": {model: b""}}


def test_one_read_returns_several_models_each_at_its_version(model, tables, write, read):
    other = f"{model}b"
    tables.ensure_model(ModelState(other, "customer"))
    for version in (10, 20):
        write(model, version, {b"a": f"m{version}".encode()})
        write(other, version, {b"a": f"o{version}".encode()})
    assert read([b"a"], prediction_filter({model: 10, other: 20})) == {b"a": {model: b"m10", other: b"o20"}}


def test_a_dot_in_a_models_name_matches_only_itself(model, tables, write, read):
    dotted, other = f"{model}.b", f"{model}xb"
    for name in (dotted, other):
        tables.ensure_model(ModelState(name, "customer"))
        write(name, 10, {b"a": name.encode()})
    assert read([b"a"], prediction_filter({dotted: 10})) == {b"a": {dotted: dotted.encode()}}


def test_values_that_come_in_pieces_are_put_together(model, write, read):
    value = bytes(range(256)) * 20_000  # 5 MB
    write(model, 10, {b"a": value, b"b": b"small"})
    assert read([b"a", b"b"], prediction_filter({model: 10})) == {b"a": {model: value}, b"b": {model: b"small"}}


def test_stale_cells_are_found_without_their_values_and_purged(model, write, read, data_channel):
    write(model, 10, {b"a": b"1", b"b": b"1"})
    write(model, 20, {b"a": b"2"})
    write(model, 30, {b"c": b"3"})
    request = ReadRowsRequest(table_name=write.table, filter=stale_filter(model, 10, 30))
    assembler = RowAssembler()
    responses = read_rows(data_channel)(request, metadata=(routing_metadata(write.table, ""),))
    assert [row for response in responses for row in assembler.feed(response)] == [(b"a", {model: b""})]

    entry = purge_entry(model, 10, 30)
    for key in (b"a", b"b", b"c"):
        entry.row_key = key
        write.send(MutateRowsRequest(table_name=write.table, entries=[entry]))
    left = read([b"a", b"b", b"c"], prediction_filter({model: 99}))
    assert left == {b"a": {model: b"1"}, b"b": {model: b"1"}, b"c": {model: b"3"}}


def test_the_timestamp_of_a_version_is_within_its_own_range():
    row_filter = prediction_filter({"m": 17})
    end = row_filter.chain.filters[2].timestamp_range_filter.end_timestamp_micros
    assert cell_timestamp(17) < end <= cell_timestamp(18)
