"""The placement of a member among others: the live ones, and what is whose."""

from __future__ import annotations

from collections.abc import Callable

from sira_grpc.placement import rendezvous

REMEMBERED = 10_000
"""Owners that are kept, at most, so that a busy unit is not hashed for every call."""


class LivePlacement:
    """See Placement. Told by LiveMembers who takes work.

    Args:
        member: id of this member.
        isolated: says whether others may take this member for dead.
    """

    def __init__(self, member: str, isolated: Callable[[], bool]) -> None:
        self.member = member
        self.changed: list[Callable[[], None]] = []
        self._live = frozenset((member,))
        self._isolated = isolated
        self._owners: dict[str, str] = {}

    @property
    def live(self) -> frozenset[str]:
        """The members that take work."""
        return self._live

    @property
    def isolated(self) -> bool:
        """Whether this member's heartbeats have not gone through for so long that others may have taken over."""
        return self._isolated()

    def is_live(self, member: str) -> bool:
        """See Placement. One that has not announced itself yet, or stops, is not."""
        return member == self.member or member in self._live

    def owner(self, unit: str) -> str:
        """See Placement."""
        owner = self._owners.get(unit)
        if owner is None:
            if len(self._owners) >= REMEMBERED:
                self._owners.clear()
            owner = self._owners[unit] = rendezvous(unit, self._live)
        return owner

    def owns(self, unit: str) -> bool:
        """See Placement."""
        return self.owner(unit) == self.member

    def place(self, live: frozenset[str]) -> None:
        """Takes note of who takes work, at least one, and calls the hooks if that is news."""
        if live == self._live:
            return
        self._live = live
        self._owners.clear()
        for hook in tuple(self.changed):
            hook()
