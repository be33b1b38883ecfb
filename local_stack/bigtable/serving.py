"""What an implementation of Bigtable tells its caller once it serves."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


class StartError(Exception):
    """An implementation could not start serving; the message says why and what to do."""


@dataclass(frozen=True)
class Serving:
    """A Bigtable that answers requests.

    Attributes:
        implementation: `cbtemulator` or `embedded`.
        address: `host:port`, as `BIGTABLE_EMULATOR_HOST` takes it.
        ended: waits until it stops by itself and says why.
    """

    implementation: str
    address: str
    ended: Callable[[], Awaitable[str]]
