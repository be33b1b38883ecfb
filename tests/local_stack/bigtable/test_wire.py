"""The messages of ReadRows, for readers that do not use Google's row merger."""

from google.cloud.bigtable.data import SetCell
from google.cloud.bigtable_v2.types import PingAndWarmResponse, ReadRowsRequest

MESSAGE_LIMIT = 4 * 1024 * 1024  # the default limit of a gRPC channel


def responses(table, **request):
    request = ReadRowsRequest(table_name=table.name, **request)
    return [type(response).pb(response) for response in table.emulator.rpc.read_rows(request=request)]


def merged(messages):
    """Merge chunks into rows by key. A field that a chunk leaves out is the same as in the chunk before."""
    rows, cells, key, family, qualifier, value = {}, [], b"", "", b"", b""
    for chunk in (chunk for message in messages for chunk in message.chunks):
        key = chunk.row_key or key
        if not value:
            family = chunk.family_name.value if chunk.HasField("family_name") else family
            qualifier = chunk.qualifier.value if chunk.HasField("qualifier") else qualifier
            timestamp = chunk.timestamp_micros
        value += chunk.value
        if chunk.value_size:
            assert chunk.value_size > len(value)
            assert not chunk.commit_row
            continue
        cells.append((family, qualifier, timestamp, value))
        value = b""
        if chunk.commit_row:
            assert key not in rows
            rows[key], cells = cells, []
    assert cells == []
    return rows


def test_every_row_is_committed_by_its_last_chunk(table):
    written = {
        b"%04d" % number: [SetCell("churn", b"%d" % column, b"v%d" % number, 1000) for column in range(3)]
        for number in range(500)
    }
    table.write_all(written)

    rows = merged(responses(table))

    assert rows == {
        key: [("churn", b"%d" % column, 1000, mutations[0].new_value) for column in range(3)]
        for key, mutations in written.items()
    }


def test_a_value_of_five_megabytes_comes_back_whole(table):
    value = bytes(range(256)) * 20_000
    table.write(b"big", SetCell("churn", b"a", b"before", 1000), SetCell("churn", b"p", value, 1000))
    table.write(b"small", SetCell("churn", b"p", b"after", 1000))

    rows = merged(responses(table))

    assert rows[b"big"] == [("churn", b"a", 1000, b"before"), ("churn", b"p", 1000, value)]
    assert rows[b"small"] == [("churn", b"p", 1000, b"after")]


def test_a_read_that_finds_nothing_has_no_chunks(table):
    assert merged(responses(table, rows={"row_keys": [b"nobody"]})) == {}


def test_ping_and_warm_answers(emulator):
    assert emulator.rpc.ping_and_warm(name=emulator.parent) == PingAndWarmResponse()


class TestMessagesLikeProductions:
    """The embedded Bigtable uses features of the protocol that production uses and Google's emulator does not."""

    def test_rows_share_messages_and_messages_stay_small(self, embedded_table):
        for start in range(0, 4000, 1000):
            embedded_table.write_all(
                {b"%04d" % number: [SetCell("churn", b"p", b"x" * 400, 1000)] for number in range(start, start + 1000)}
            )

        messages = responses(embedded_table)

        assert len(merged(messages)) == 4000
        assert 1 < len(messages) < 40
        assert max(message.ByteSize() for message in messages) < MESSAGE_LIMIT / 8

    def test_repeated_names_are_left_out(self, embedded_table):
        mutations = [SetCell(family, b"p", b"v", micros) for family in ("churn", "value") for micros in (2000, 1000)]
        embedded_table.write(b"k", *mutations)

        [message] = responses(embedded_table)

        present = [
            (bool(chunk.row_key), *(chunk.HasField(name) for name in ("family_name", "qualifier")))
            for chunk in message.chunks
        ]
        assert present == [(True, True, True), (False, False, False), (False, True, True), (False, False, False)]

    def test_a_large_value_passes_a_channel_with_the_usual_limit(self, embedded_table):
        value = b"x" * (5 * 1024 * 1024)
        embedded_table.write(b"big", SetCell("churn", b"p", value[: 2 * 1024 * 1024], 2000))
        embedded_table.emulator.rpc.mutate_row(
            table_name=embedded_table.name,
            row_key=b"big",
            mutations=[SetCell("churn", b"p", value, 1000)._to_pb()],
        )

        assert embedded_table.read()[b"big"] == [
            ("churn", b"p", 2000, value[: 2 * 1024 * 1024]),
            ("churn", b"p", 1000, value),
        ]
        messages = responses(embedded_table)
        assert max(message.ByteSize() for message in messages) < MESSAGE_LIMIT / 2
        assert merged(messages)[b"big"][1][3] == value
