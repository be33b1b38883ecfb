"""Bigtable on one machine: Google's emulator (cbtemulator) where it is installed, the embedded Bigtable elsewhere."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

Timing = Literal["eager", "lazy", "off"]
"""The time at which garbage is collected: at each touch of a row, at one in ten, or never."""


class StartError(Exception):
    """A Bigtable did not start. The message gives the reason and the way out."""


@dataclass(frozen=True)
class Serving:
    """A Bigtable that answers requests.

    Attributes:
        implementation: `cbtemulator` or `embedded`.
        address: `host:port`, as `BIGTABLE_EMULATOR_HOST` takes it.
        ended: waits until the Bigtable ends by itself; returns the reason.
    """

    implementation: str
    address: str
    ended: Callable[[], Awaitable[str]]
