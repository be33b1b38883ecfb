"""HTTP/2 frames (RFC 9113) that gRPC needs, and HPACK header fields (RFC 7541) without a dynamic table."""

import struct
from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

HEADER_BYTES = 9
HEADER = struct.Struct(">HBBBL")
"""The header of a frame: the upper 16 and the lower 8 bits of its length, its type, its flags, its stream."""

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 1, 2, 4, 5
MAX_CONCURRENT_STREAMS = 3

DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_BYTES = 16_384
MAX_WINDOW = 2**31 - 1
MAX_STREAM = 2**31 - 1

CANCEL = 0x8

_PREFIX_FULL = _SEVEN_BITS = 0x7F

_SETTING = struct.Struct(">HL")


def frame(frame_type: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Encode a frame."""
    size = len(payload)
    return HEADER.pack(size >> 8, size & 0xFF, frame_type, flags, stream) + payload


def settings(values: Iterable[tuple[int, int]]) -> bytes:
    """Encode a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(*setting) for setting in values))


def parse_settings(payload: bytes) -> dict[int, int]:
    """Parse the payload of a SETTINGS frame into values by setting."""
    return dict(_SETTING.iter_unpack(payload))


def window_update(stream: int, increment: int) -> bytes:
    """Encode a frame that allows the peer to send `increment` more bytes."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def unpadded(flags: int, payload: bytes) -> bytes:
    """Remove padding and priority from the payload of a DATA or HEADERS frame.

    Raises:
        ValueError: the padding is longer than the frame.
    """
    start, padding = 0, 0
    if flags & PADDED:
        start, padding = 1, payload[0]
    if flags & PRIORITY:
        start += 5
    if start + padding > len(payload):
        raise ValueError(f"{padding} bytes of padding in a frame of {len(payload)}")
    return payload[start : len(payload) - padding]


def header_field(name: str, value: str) -> bytes:
    """Encode a header field as a literal without indexing (RFC 7541, 6.2.2)."""
    return b"\x00" + _string(name.encode()) + _string(value.encode())


def _string(value: bytes) -> bytes:
    """Encode a string: its length as an integer with a prefix of seven bits (RFC 7541, 5.1), then its bytes."""
    size = len(value)
    if size < _PREFIX_FULL:
        return bytes((size,)) + value
    encoded = bytearray((_PREFIX_FULL,))
    size -= _PREFIX_FULL
    while size > _SEVEN_BITS:
        encoded.append(size & _SEVEN_BITS | 0x80)
        size >>= 7
    encoded.append(size)
    return bytes(encoded) + value
