"""Rendezvous hashing: which of many each key belongs to, moving as few keys as can be when they come and go.

Every member draws a number from the key and its own name, and the smallest wins; the rest of the order is who would
win if the winners before were gone. So a member that goes moves only its own keys, one that comes takes only its own
share, and a changed weight moves only the difference. A ring of virtual nodes gives this only roughly, and has to be
built for every set of members and weights.

Sources: Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998); the weights are
Schindelhauer and Schomaker's logarithmic method, "Weighted distributed hash tables" (2005); the mixing of the two
hashes is the finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from math import log

_MASK = (1 << 64) - 1
_UNIT = 2.0**-64


@lru_cache(maxsize=1 << 16)
def digest(text: str) -> int:
    """Hashes a key or a name to 64 bits, the same on every machine: BLAKE2b of its UTF-8 form."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def draw(key: int, member: int, weight: float) -> float:
    """Draws the number of one member for one key: exponentially distributed at the rate of its weight.

    Args:
        key: digest of the key.
        member: digest of the member's name.
        weight: share of keys relative to the others, above 0.
    """
    mixed = key ^ member
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return -log(((mixed ^ (mixed >> 31)) + 0.5) * _UNIT) / weight


class Rendezvous:
    """Members by name and weight, and the order in which each key prefers them.

    Args:
        members: name and weight of each. Those of weight 0 come last.
    """

    def __init__(self, members: Sequence[tuple[str, float]]) -> None:
        self._members = [(digest(name), weight) for name, weight in members]

    def order(self, key: str) -> list[int]:
        """Returns the positions of all members, the one that the key belongs to first."""
        hashed = digest(key)
        drawn = [
            (0 if weight > 0 else 1, draw(hashed, member, weight or 1.0), position)
            for position, (member, weight) in enumerate(self._members)
        ]
        drawn.sort()
        return [position for _, _, position in drawn]

    def pick(self, key: str) -> int:
        """Returns the position of the member that the key belongs to.

        Raises:
            ValueError: there are no members.
        """
        hashed = digest(key)
        return min(
            (0 if weight > 0 else 1, draw(hashed, member, weight or 1.0), position)
            for position, (member, weight) in enumerate(self._members)
        )[2]
