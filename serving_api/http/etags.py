"""Answers that a client has already (RFC 9110, conditional requests).

What a version predicts for an entity never changes: the tag of an answer is made of these two, and whether a client's
answer still holds is known without a look at the prediction.
"""

import zlib
from collections.abc import Iterable, Mapping


def tag(version: int, key: bytes) -> bytes:
    """The entity tag of what a version predicts at a row key."""
    return b'"%d-%08x"' % (version, zlib.crc32(key))


def joint_tag(versions: Iterable[int], key: bytes) -> bytes:
    """The entity tag of what several versions predict at a row key."""
    return b'"%b-%08x"' % (b"-".join([b"%d" % version for version in versions]), zlib.crc32(key))


def holds(headers: Mapping[bytes, bytes], current: bytes) -> bool:
    """Whether the client has the answer with a tag, as it says by If-None-Match."""
    theirs = headers.get(b"if-none-match")
    if theirs is None:
        return False
    return current in [each.strip().removeprefix(b"W/") for each in theirs.split(b",")]
