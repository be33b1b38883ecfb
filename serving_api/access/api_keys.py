"""The form of an API key: `foreserve_`, 12 hexadecimal digits that name the key, `_`, and the secret.

A key is stored as its SHA-256 alone. That suffices because the secret has 256 random bits: no list of likely keys can
be tried against the digest. Slow, salted hashes protect passwords, which people choose, and would cost more than a
lookup does.
"""

import secrets
from hashlib import sha256
from typing import NamedTuple

_PREFIX = "foreserve_"
_ID_BYTES = 6
_SECRET_BYTES = 32

ID_LENGTH = len(_PREFIX) + 2 * _ID_BYTES
"""A key's id is its first so many characters. It is no secret."""


class NewKey(NamedTuple):
    """A key, its id, and its digest in hexadecimal."""

    key: str
    id: str
    sha256: str


def new_key() -> NewKey:
    """A key that nobody has."""
    key = f"{_PREFIX}{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return NewKey(key, key[:ID_LENGTH], sha256(key.encode()).hexdigest())
