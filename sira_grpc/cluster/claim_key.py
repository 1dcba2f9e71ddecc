"""The key of a claim: `{store key}.{id}.{secret}`, of which the store keeps only a hash of the secret.

It names the lock, so that a member that does not know the claim yet can tell whether it is behind or the claim is gone.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

ID_BYTES = 10
SECRET_BYTES = 16
_PARTS = 3


@dataclass(frozen=True, slots=True)
class ClaimKey:
    """Proof that its bearer made the claim. What is no key is one that opens nothing.

    Attributes:
        lock: store key of the lock or election.
        id: of the claim.
        secret: of its bearer.
    """

    lock: str
    id: str
    secret: str

    @classmethod
    def make(cls, lock: str, random_bytes: Callable[[int], bytes]) -> ClaimKey:
        """Makes a new one from 26 random bytes, which must be unpredictable."""
        return cls(lock, random_bytes(ID_BYTES).hex(), random_bytes(SECRET_BYTES).hex())

    @classmethod
    def parse(cls, text: str) -> ClaimKey:
        """Reads a key."""
        parts = text.split(".")
        return cls(*parts) if len(parts) == _PARTS else cls("", "", "")

    def __str__(self) -> str:
        return f"{self.lock}.{self.id}.{self.secret}"

    def __repr__(self) -> str:
        return f"ClaimKey({self.lock!r}, {self.id!r}, secret hidden)"

    @property
    def secret_sha256(self) -> bytes:
        """What the store keeps."""
        return hashlib.sha256(self.secret.encode()).digest()

    def opens(self, lock: str, secret_sha256: bytes) -> bool:
        """Says in constant time whether this is the key of a claim on a lock, by the hash that the store has."""
        return self.lock == lock and hmac.compare_digest(self.secret_sha256, secret_sha256)
