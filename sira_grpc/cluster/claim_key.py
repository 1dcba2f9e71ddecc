"""The key of a claim: `{resource name}.{secret}`. The store keeps a hash of it alone, which is the id of the claim.

It names the lock, so that a member that does not know the claim yet can tell whether it is behind or the claim is gone.
A caller may choose the secret: then it has the key before the kernel has answered.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from sira_grpc.cluster import lock_names

SECRET_BYTES = 16
_ID = "[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
_KEY = re.compile(rf"(namespaces/{_ID}/(?:locks|elections)/{_ID})\.([-_A-Za-z0-9]+)")


@dataclass(frozen=True)
class ClaimKey:
    """Proof that its bearer made the claim.

    Attributes:
        lock: store key of the lock or election; empty of what is no key, which opens nothing.
        secret: of its bearer.
    """

    lock: str
    secret: str

    @classmethod
    def make(cls, lock: str, random_bytes: Callable[[int], bytes]) -> ClaimKey:
        """Makes a new one from 16 random bytes, which must be unpredictable."""
        return cls(lock, random_bytes(SECRET_BYTES).hex())

    @classmethod
    def parse(cls, text: str) -> ClaimKey:
        """Reads a key."""
        match = _KEY.fullmatch(text)
        return cls(lock_names.key_of(match[1]), match[2]) if match is not None else cls("", "")

    def __str__(self) -> str:
        return f"{lock_names.name_of(self.lock)}.{self.secret}" if self.lock else ""

    def __repr__(self) -> str:
        return f"ClaimKey({self.lock!r}, secret hidden)"

    @cached_property
    def id(self) -> str:
        """Id of the claim. It tells nothing of the secret, and that of another lock is another."""
        return hashlib.sha256(str(self).encode()).hexdigest()
