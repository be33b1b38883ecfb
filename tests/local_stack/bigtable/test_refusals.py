"""Requests that are refused, and the differences between the two implementations.

The embedded Bigtable refuses what production refuses, also where Google's emulator accepts it.
"""

import grpc
import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, NotFound
from google.cloud.bigtable_v2.types import MutateRowsRequest, Mutation, RowFilter

Code = grpc.StatusCode


def set_cell(family="churn", micros=1000):
    return Mutation(set_cell={"family_name": family, "column_qualifier": b"p", "timestamp_micros": micros})


def delete(start, end):
    time_range = {"start_timestamp_micros": start, "end_timestamp_micros": end}
    return Mutation(delete_from_column={"family_name": "churn", "column_qualifier": b"p", "time_range": time_range})


@pytest.mark.parametrize(
    "call",
    [
        lambda rpc, name: list(rpc.read_rows(table_name=name)),
        lambda rpc, name: rpc.mutate_row(table_name=name, row_key=b"k", mutations=[set_cell()]),
        lambda rpc, name: list(
            rpc.mutate_rows(table_name=name, entries=[MutateRowsRequest.Entry(row_key=b"k", mutations=[set_cell()])])
        ),
        lambda rpc, name: rpc.check_and_mutate_row(
            table_name=name, row_key=b"k", predicate_filter=RowFilter(), true_mutations=[set_cell()], false_mutations=[]
        ),
        lambda rpc, name: list(rpc.sample_row_keys(table_name=name)),
    ],
    ids=["read_rows", "mutate_row", "mutate_rows", "check_and_mutate_row", "sample_row_keys"],
)
def test_a_table_that_does_not_exist_is_not_found(emulator, call):
    name = f"{emulator.parent}/tables/absent"

    with pytest.raises(NotFound, match=f'table "{name}" not found'):
        call(emulator.rpc, name)


@pytest.mark.parametrize(
    ("mutations", "message", "official", "embedded"),
    [
        ([], "No mutations provided", Code.INVALID_ARGUMENT, Code.INVALID_ARGUMENT),
        ([set_cell("nowhere")], 'unknown family "nowhere"', Code.UNKNOWN, Code.NOT_FOUND),
        ([set_cell(micros=1500)], "invalid timestamp 1500", Code.UNKNOWN, Code.INVALID_ARGUMENT),
        ([set_cell(micros=-1000)], "invalid timestamp -1000", Code.UNKNOWN, Code.INVALID_ARGUMENT),
        ([set_cell(), delete(1, 0)], "invalid timestamp 1", Code.UNKNOWN, Code.INVALID_ARGUMENT),
        ([set_cell(), delete(1000, 1001)], "invalid timestamp 1001", Code.UNKNOWN, Code.INVALID_ARGUMENT),
        ([set_cell(), delete(2000, 1000)], "timestamp range", Code.UNKNOWN, Code.INVALID_ARGUMENT),
    ],
)
def test_a_bad_mutation_is_refused(table, mutations, message, official, embedded):
    with pytest.raises(GoogleAPICallError, match=message) as refusal:
        table.emulator.rpc.mutate_row(request={"table_name": table.name, "row_key": b"k", "mutations": mutations})

    assert refusal.value.grpc_status_code == (embedded if table.emulator.implementation == "embedded" else official)


def test_a_row_needs_a_key(table):
    with pytest.raises(InvalidArgument, match="Row keys must be non-empty"):
        table.emulator.rpc.mutate_row(table_name=table.name, row_key=b"", mutations=[set_cell()])


def test_a_request_without_entries_is_refused(table):
    with pytest.raises(InvalidArgument, match="No mutations provided"):
        list(table.emulator.rpc.mutate_rows(table_name=table.name, entries=[]))


@pytest.mark.parametrize(
    ("family", "micros", "official", "embedded"),
    [("nowhere", 1000, Code.INTERNAL, Code.NOT_FOUND), ("churn", 1500, Code.INTERNAL, Code.INVALID_ARGUMENT)],
)
def test_the_status_of_a_bad_entry(table, family, micros, official, embedded):
    entry = MutateRowsRequest.Entry(row_key=b"k", mutations=[set_cell(family, micros)])

    [response] = table.emulator.rpc.mutate_rows(table_name=table.name, entries=[entry])

    expected = embedded if table.emulator.implementation == "embedded" else official
    assert response.entries[0].status.code == expected.value[0]


class TestStricterThanGooglesEmulator:
    """Rules of production that only the embedded Bigtable enforces."""

    def test_a_row_takes_all_of_its_mutations_or_none(self, embedded_table):
        with pytest.raises(NotFound):
            embedded_table.emulator.rpc.mutate_row(
                table_name=embedded_table.name, row_key=b"k", mutations=[set_cell(), set_cell("nowhere")]
            )

        assert embedded_table.read() == {}

    @pytest.mark.parametrize(("length", "accepted"), [(4096, True), (4097, False)])
    def test_a_row_key_has_at_most_4096_bytes(self, embedded_table, length, accepted):
        entry = MutateRowsRequest.Entry(row_key=b"k" * length, mutations=[set_cell()])

        [response] = embedded_table.emulator.rpc.mutate_rows(table_name=embedded_table.name, entries=[entry])

        assert (response.entries[0].status.code == 0) is accepted
        assert len(embedded_table.read()) == accepted

    def test_a_request_has_at_most_100_000_mutations(self, embedded_table):
        mutation = Mutation.pb(set_cell())
        request = MutateRowsRequest.pb()(table_name=embedded_table.name)
        request.entries.add(row_key=b"a", mutations=[mutation] * 99_999)
        request.entries.add(row_key=b"b", mutations=[mutation] * 2)

        with pytest.raises(InvalidArgument, match="100001 mutations"):
            list(embedded_table.emulator.rpc.mutate_rows(MutateRowsRequest.wrap(request)))

        assert embedded_table.read() == {}
        del request.entries[1].mutations[1]
        list(embedded_table.emulator.rpc.mutate_rows(MutateRowsRequest.wrap(request)))
        assert list(embedded_table.read()) == [b"a", b"b"]

    @pytest.mark.parametrize("table_id", ["", "a b", "-a", "x" * 51])
    def test_table_ids(self, start, table_id):
        emulator = start("embedded")
        with pytest.raises(InvalidArgument, match="table id"):
            emulator.admin.create_table(request={"parent": emulator.parent, "table_id": table_id})

    def test_changes_of_families_are_made_together_or_not_at_all(self, embedded_table):
        admin = embedded_table.emulator.admin
        modifications = [{"id": "new", "create": {}}, {"id": "nowhere", "drop": True}]

        with pytest.raises(NotFound, match="nowhere"):
            admin.modify_column_families(request={"name": embedded_table.name, "modifications": modifications})

        assert set(admin.get_table(name=embedded_table.name).column_families) == {"churn", "value"}

    def test_a_filter_that_is_not_supported_is_named(self, embedded_table):
        request = {"table_name": embedded_table.name, "filter": {"apply_label_transformer": "x"}}

        with pytest.raises(GoogleAPICallError, match="apply_label_transformer") as refusal:
            list(embedded_table.emulator.rpc.read_rows(request=request))

        assert refusal.value.grpc_status_code == Code.UNIMPLEMENTED
