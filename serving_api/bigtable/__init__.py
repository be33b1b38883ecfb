"""A client of Bigtable's data API: gRPC over HTTP/2 on asyncio, for the calls of a lookup.

A read takes a tenth to a fifth of the CPU time of grpc.aio; docs/decisions/0005 has the measurements and the reasons.
`channel` keeps connections ready, `connection` makes calls on one of them, `frames` and `status` encode and decode the
protocol.
"""

from serving_api.bigtable.channel import Channel
from serving_api.bigtable.client import BigtableClient, RowRead
from serving_api.bigtable.status import CallError
from serving_api.bigtable.target import Target

__all__ = ["BigtableClient", "CallError", "Channel", "RowRead", "Target"]
