"""The other members on the same store: which of them are live, and which one does what only one should do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from sira_grpc.placement import Alone, Placement
from sira_grpc.store.api import Op

ROTATION, UPKEEP = "identity-rotation", "identity-upkeep"
"""Duties: who has the first has rotations go on; who has the second, replaces and forgets what is over."""


class Duties(Protocol):
    """Work that one member does at a time."""

    async def run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Does work whenever this member has a duty, and cancels it when another one has it; for ever."""

    def guard(self, name: str) -> Op:
        """Returns what makes a commit a Conflict when another member has the duty by then.

        Raises:
            NotOwner: another member has it.
        """


@dataclass(frozen=True, slots=True)
class Members:
    """The members, as identity needs them.

    Attributes:
        placement: which are live.
        duties: which one does what; None for a member that has its store to itself, and does everything.
    """

    placement: Placement = field(default_factory=Alone)
    duties: Duties | None = None

    async def run(self, duty: str, work: Callable[[], Awaitable[None]]) -> None:
        """Does work, for ever, whenever it is this member's to do; cancelled by its owner."""
        if self.duties is None:
            await work()
        else:
            await self.duties.run(duty, work)

    def guard(self, duty: str) -> list[Op]:
        """Returns what goes with each commit of that work.

        Raises:
            NotOwner: it is another member's to do.
        """
        return [] if self.duties is None else [self.duties.guard(duty)]
