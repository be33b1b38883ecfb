"""Which rows a ReadRows request asks for."""

from typing import Any

from local_stack.bigtable.embedded.errors import InvalidArgumentError
from local_stack.bigtable.embedded.ranges import ByteRange, byte_range
from local_stack.bigtable.embedded.tables import Table


def requested_keys(table: Table, row_set: Any) -> list[bytes]:
    """Returns the keys of a `google.bigtable.v2.RowSet` that the table has, sorted, each once.

    An empty set asks for all rows.

    Raises:
        InvalidArgumentError: a range whose start is after its end.
    """
    ranges = [_row_range(message, index) for index, message in enumerate(row_set.row_ranges)]
    if not row_set.row_keys:
        if not ranges:
            return table.keys_between(b"", None)
        if len(ranges) == 1:
            return table.keys_between(*ranges[0])
    keys = table.existing(row_set.row_keys)
    for each in ranges:
        keys.update(table.keys_between(*each))
    return sorted(keys)


def _row_range(message: Any, index: int) -> ByteRange:
    start, end = message.WhichOneof("start_key"), message.WhichOneof("end_key")
    if start and end and getattr(message, start) > getattr(message, end) > b"":
        raise InvalidArgumentError(f"Error in element #{index}: {start} must be less than {end}")
    lower, upper = byte_range(message, "key")
    return ByteRange(lower, upper or None)  # an empty end key is the end of the table
