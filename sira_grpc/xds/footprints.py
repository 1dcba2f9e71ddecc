"""Footprints: how many bytes the keys of caches take, which clients may have made long."""

from __future__ import annotations

import sys
from collections.abc import Hashable

OBJECT = 64
"""Bytes of what is neither text nor made of parts."""


def footprint(key: Hashable) -> int:
    """Returns the bytes of a key that is made of texts, tuples and frozensets, with all that is in it."""
    if isinstance(key, str | bytes):
        return sys.getsizeof(key)
    if isinstance(key, tuple | frozenset):
        return sys.getsizeof(key) + sum(map(footprint, key))
    return OBJECT
