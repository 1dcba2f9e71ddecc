"""Sets of names, of which clients that ask for the same share one."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from weakref import WeakValueDictionary

EMPTY: frozenset[str] = frozenset()


class NameSets:
    """The sets that are in use. One that nobody uses any more is gone."""

    def __init__(self) -> None:
        self._sets: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()

    def of(self, names: Iterable[str]) -> frozenset[str]:
        """Returns the set of some names: the same object as long as it is in use, but for a collision of hashes."""
        made = frozenset(names)
        if not made:
            return EMPTY
        key = hash(made)
        found = self._sets.get(key)
        if found == made:
            return found
        # The strings of a request are its own: different sets share those that they have in common.
        made = frozenset(map(sys.intern, made))
        if found is None:
            self._sets[key] = made
        return made
