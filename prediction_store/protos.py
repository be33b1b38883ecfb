"""The protobuf classes and methods of Bigtable's data API, without proto-plus wrappers: four times as fast per row."""

from typing import Any

from google.cloud.bigtable_v2.types import bigtable, data

ReadRowsRequest: Any = bigtable.ReadRowsRequest.pb()
ReadRowsResponse: Any = bigtable.ReadRowsResponse.pb()
MutateRowsRequest: Any = bigtable.MutateRowsRequest.pb()
MutateRowsResponse: Any = bigtable.MutateRowsResponse.pb()
SampleRowKeysRequest: Any = bigtable.SampleRowKeysRequest.pb()
SampleRowKeysResponse: Any = bigtable.SampleRowKeysResponse.pb()
RowFilter: Any = data.RowFilter.pb()
TimestampRange: Any = data.TimestampRange.pb()


def read_rows(channel: Any) -> Any:
    """The ReadRows method on a channel: request -> stream of responses."""
    return channel.unary_stream(
        "/google.bigtable.v2.Bigtable/ReadRows",
        ReadRowsRequest.SerializeToString,
        ReadRowsResponse.FromString,
    )


def mutate_rows(channel: Any) -> Any:
    """The MutateRows method on a channel: *serialized* request -> stream of responses."""
    return channel.unary_stream("/google.bigtable.v2.Bigtable/MutateRows", None, MutateRowsResponse.FromString)


def sample_row_keys(channel: Any) -> Any:
    """The SampleRowKeys method on a channel: request -> stream of responses."""
    return channel.unary_stream(
        "/google.bigtable.v2.Bigtable/SampleRowKeys",
        SampleRowKeysRequest.SerializeToString,
        SampleRowKeysResponse.FromString,
    )
