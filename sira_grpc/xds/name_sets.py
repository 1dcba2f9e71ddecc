"""Sets of names, of which clients that ask for the same share one."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakValueDictionary

from sira_grpc.xds.footprints import footprint
from sira_grpc.xds.recent import Recent

KEPT_BYTES = 4 << 20
"""Of the younger half of the names that are kept."""
OVERHEAD = 100
"""Bytes that a name takes there beside its text."""

EMPTY: frozenset[str] = frozenset()


class NameSets:
    """The sets that are in use. One that nobody uses any more is gone."""

    def __init__(self) -> None:
        self._sets: WeakValueDictionary[int, frozenset[str]] = WeakValueDictionary()
        self._names: Recent[str, str] = Recent(KEPT_BYTES)

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
        made = frozenset(map(self._shared, made))
        if found is None:
            self._sets[key] = made
        return made

    def _shared(self, name: str) -> str:
        """Returns the string that others use for a name, if it came up not long ago.

        It is not interned: there are versions of Python that never let go of a string that was, and clients may ask
        for whatever they like.
        """
        found = self._names.get(name)
        if found is None:
            self._names.put(name, name, footprint(name) + OVERHEAD)
        return found or name
