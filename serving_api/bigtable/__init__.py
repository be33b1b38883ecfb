"""Clients of Bigtable's data API for the reads of the service.

`client` has the protocol that the service uses. `http2` is our implementation of it, `official` Google's. `status` has
the errors of calls, `target` the address and the credentials.
"""

from serving_api.bigtable.client import BigtableClient, RowRead
from serving_api.bigtable.http2.channel import Channel
from serving_api.bigtable.status import CallError
from serving_api.bigtable.target import Target

__all__ = ["BigtableClient", "CallError", "Channel", "RowRead", "Target"]
