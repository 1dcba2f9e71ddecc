"""A cache of what was asked for recently, bounded by the size of what it holds."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Values by key. What nobody has asked for since the cache was last full goes when it is full again.

    Two dicts take turns, which bounds the cache as an LRU would, for less than its cost at each look-up: what is asked
    for moves to the younger one; when that is full it becomes the older one, and what was in the older one is gone.

    Args:
        limit: the size at which the younger half is full.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._young: dict[K, tuple[V, int]] = {}
        self._old: dict[K, tuple[V, int]] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many values there are."""
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        """Returns the value of a key, None if there is none."""
        found = self._young.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is None:
                return None
            self._put(key, found)
        return found[0]

    def put(self, key: K, value: V, size: int) -> None:
        """Keeps a value in place of the one of that key."""
        self.drop(key)
        self._put(key, (value, size))

    def _put(self, key: K, sized: tuple[V, int]) -> None:
        if self._size >= self._limit:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[key] = sized
        self._size += sized[1]

    def drop(self, key: K) -> None:
        """Forgets a key."""
        found = self._young.pop(key, None)
        if found is not None:
            self._size -= found[1]
        self._old.pop(key, None)
