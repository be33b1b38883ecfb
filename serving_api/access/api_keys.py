"""API keys: `foreserve_`, 12 hexadecimal digits that are the id of the key, `_`, and the secret.

A key is stored as its SHA-256 only. A fast hash is safe here, because the secret has 256 random bits: no list of
likely keys can be tried against the digest. Slow, salted hashes protect passwords, which people choose, and would take
longer than a lookup.
"""

import secrets
from hashlib import sha256
from hmac import compare_digest
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from serving_api.access.callers import Caller

_PREFIX = "foreserve_"
_ID_BYTES = 6
_SECRET_BYTES = 32

ID_LENGTH = len(_PREFIX) + 2 * _ID_BYTES
"""The number of characters at the start of a key that are its id. The id is not secret."""


class NewKey(NamedTuple):
    """A new key, its id, and its SHA-256 in hexadecimal."""

    key: str
    id: str
    sha256: str


def new_key() -> NewKey:
    """Create a random key."""
    key = f"{_PREFIX}{secrets.token_hex(_ID_BYTES)}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    return NewKey(key, key[:ID_LENGTH], sha256(key.encode()).hexdigest())


class ApiKey:
    """The digest of a caller's API key, to verify credentials with.

    After the first match the plain key is kept, because comparing it is ten times faster than hashing.
    """

    __slots__ = ("_key", "_sha256", "caller", "expires_at")

    def __init__(self, caller: "Caller", digest: bytes, expires_at: float) -> None:
        """Create a verifier. `expires_at` is in seconds since the epoch, infinite if the key does not expire."""
        self.caller = caller
        self.expires_at = expires_at
        self._sha256 = digest
        self._key = b""

    def verify(self, credential: bytes) -> bool:
        """Return True if the credential is this key. The time does not depend on how much of it is right."""
        if compare_digest(credential, self._key):
            return True
        if not compare_digest(sha256(credential).digest(), self._sha256):
            return False
        self._key = credential
        return True
