"""One reader of the loads that are reported to this member."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import islice

FOLLOWED_AT_ONCE = 1000
"""Loads in one batch, at most."""


class LoadFollower:
    """The names of what changed since the last batch. Bounded by the endpoints there are: a name is in it once."""

    def __init__(self, names: Iterable[str]) -> None:
        self._changed = dict.fromkeys(names)
        self._wake = asyncio.Event()
        if self._changed:
            self._wake.set()

    def note(self, name: str) -> None:
        """Notes that a load was reported."""
        self._changed[name] = None
        self._wake.set()

    @property
    def more(self) -> bool:
        """Whether another batch is there already."""
        return self._wake.is_set()

    async def batch(self) -> list[str]:
        """Returns the next names, the earliest first, once there are any."""
        await self._wake.wait()
        taken = list(islice(self._changed, FOLLOWED_AT_ONCE))
        for name in taken:
            del self._changed[name]
        if not self._changed:
            self._wake.clear()
        return taken
