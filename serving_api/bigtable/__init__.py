"""Bigtable's data API over HTTP/2 on asyncio: the calls that a lookup makes, at a tenth of the CPU time of grpc.aio.

`channel` keeps connections ready and replaces them; `connection` makes the calls on one; `frames` and `status` are what
they say on the wire. docs/decisions/0005 has the reasons and the measurements.
"""

from serving_api.bigtable.channel import Channel
from serving_api.bigtable.connection import Answer, Call, Connection, Stream
from serving_api.bigtable.status import CallError
from serving_api.bigtable.target import Target

__all__ = ["Answer", "Call", "CallError", "Channel", "Connection", "Stream", "Target"]
