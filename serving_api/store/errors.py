"""Errors of lookups, apart from the code that reads, so that answers can be made of them without importing it.

StoreError
├── OverloadedError     refused before anything was read
├── DeadlineError       not read in time
└── UnavailableError    Bigtable reported a failure
"""


class StoreError(Exception):
    """Predictions cannot be read at present; a later attempt may succeed."""


class OverloadedError(StoreError):
    """Too many lookups are in flight."""


class DeadlineError(StoreError):
    """The predictions did not arrive before the deadline of the request."""


class UnavailableError(StoreError):
    """Bigtable answered the read with an error. The message is the name of its gRPC status."""
