"""Entity tags for conditional requests (RFC 9110).

The prediction of a promoted version for an entity never changes. So the tag of an answer is made of the version and the
entity, and the service knows without a read that the answer of a client is still valid. Previews have no tag.
"""

import zlib
from collections.abc import Mapping


def tag(key: bytes, *versions: int) -> bytes:
    """The entity tag of the predictions of one or more versions for an entity. `key` is its row key, or its id."""
    return b'"%b-%08x"' % (b"-".join([b"%d" % version for version in versions]), zlib.crc32(key))


def matches(headers: Mapping[bytes, bytes], current: bytes) -> bool:
    """Return True if the header If-None-Match has the current tag, so that the client has the answer already."""
    tags = headers.get(b"if-none-match")
    if tags is None:
        return False
    return current in [each.strip().removeprefix(b"W/") for each in tags.split(b",")]


def matches_any(headers: Mapping[bytes, bytes]) -> bool:
    """Return True if the header If-None-Match is `*`: the client has an answer if there is one at all."""
    return headers.get(b"if-none-match") == b"*"
