"""The Peers protocol: what the registry asks of the other members, however they are reached."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Peers(Protocol):
    """The other live members."""

    async def await_drain(self, endpoints: Sequence[str], revision: int, patience: float) -> tuple[int, int]:
        """Waits until the watchers at every other member were told that endpoints drain.

        Args:
            endpoints: their names.
            revision: that marked them.
            patience: seconds, at most.

        Returns how many watchers were told, and how many were not in that time: one, for a member that cannot be
        reached. Raises nothing but CancelledError.
        """


class NoPeers:
    """A member that has its store to itself."""

    async def await_drain(self, endpoints: Sequence[str], revision: int, patience: float) -> tuple[int, int]:
        """See Peers."""
        return 0, 0
