"""The protobuf classes and methods of Bigtable's data API, without proto-plus wrappers: four times as fast per row."""

from typing import Any

from google.cloud.bigtable_v2.types import bigtable, data

ReadRowsRequest: Any = bigtable.ReadRowsRequest.pb()
ReadRowsResponse: Any = bigtable.ReadRowsResponse.pb()
PingAndWarmRequest: Any = bigtable.PingAndWarmRequest.pb()
MutateRowsRequest: Any = bigtable.MutateRowsRequest.pb()
MutateRowsResponse: Any = bigtable.MutateRowsResponse.pb()
RowSet: Any = data.RowSet.pb()
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
