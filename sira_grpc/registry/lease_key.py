"""The key of a lease: `{id}.{secret}`, where the store keeps only a hash of the secret."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

ID_BYTES = 10
SECRET_BYTES = 16


@dataclass(frozen=True, slots=True)
class LeaseKey:
    """Proof that its bearer created the lease."""

    id: str
    secret: str

    @classmethod
    def make(cls, random_bytes: Callable[[int], bytes]) -> LeaseKey:
        """Makes a new one from 26 random bytes, which must be unpredictable."""
        return cls(random_bytes(ID_BYTES).hex(), random_bytes(SECRET_BYTES).hex())

    @classmethod
    def parse(cls, text: str) -> LeaseKey:
        """Reads a key. What is no key gives one that opens nothing."""
        lease, _, secret = text.partition(".")
        return cls(lease, secret)

    def __str__(self) -> str:
        return f"{self.id}.{self.secret}"

    def __repr__(self) -> str:
        return f"LeaseKey({self.id!r}, secret hidden)"

    @property
    def secret_sha256(self) -> bytes:
        """What the store keeps."""
        return hashlib.sha256(self.secret.encode()).digest()

    def opens(self, secret_sha256: bytes) -> bool:
        """Says in constant time whether the secret is the one that was hashed."""
        return hmac.compare_digest(self.secret_sha256, secret_sha256)
