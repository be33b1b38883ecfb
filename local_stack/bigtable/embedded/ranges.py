"""Ranges of byte strings, as rows, columns and values all have them."""

from typing import Any, NamedTuple


class ByteRange(NamedTuple):
    """The byte strings in `[lower, upper)`; `upper` None means no upper bound."""

    lower: bytes
    upper: bytes | None

    def __contains__(self, value: object) -> bool:
        return isinstance(value, bytes) and self.lower <= value and (self.upper is None or value < self.upper)


def byte_range(message: Any, what: str) -> ByteRange:
    """Reads a range message whose bounds are the oneofs `start_<what>` and `end_<what>`, each open or closed.

    The least byte string above `x` is `x` followed by a zero byte: with it, every bound becomes half-open.
    """
    start, end = message.WhichOneof(f"start_{what}"), message.WhichOneof(f"end_{what}")
    lower: bytes = getattr(message, start) if start else b""
    if start and start.endswith("_open"):
        lower += b"\0"
    upper: bytes | None = getattr(message, end) if end else None
    if upper is not None and end.endswith("_closed"):
        upper += b"\0"
    return ByteRange(lower, upper)
