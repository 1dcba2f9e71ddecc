"""Placement: which member of the cluster does what, by rendezvous hashing over the members that are live.

It is a hint, so that each unit of work is done by one member and comes to few others when members come and go. Two
members may disagree for a moment: that nothing is lost or done twice then is up to compare-and-set in the store.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from hashlib import blake2b
from typing import Protocol


class Placement(Protocol):
    """Which members are live, and what is whose.

    Attributes:
        member: id of this member.
        changed: called on the event loop, without arguments, after the set of live members has changed.
    """

    @property
    def member(self) -> str:
        """Id of this member."""

    @property
    def changed(self) -> list[Callable[[], None]]:
        """Called on the event loop after the set of live members has changed."""

    def is_live(self, member: str) -> bool:
        """Whether a member is live, as far as this one knows. This one always is."""

    def owner(self, unit: str) -> str:
        """Returns the member that a unit of work belongs to, such as `bus/default`."""

    def owns(self, unit: str) -> bool:
        """Whether a unit of work belongs to this member."""


class Alone:
    """The placement of a member that has its store to itself.

    Args:
        member: its id.
    """

    def __init__(self, member: str = "alone") -> None:
        self.member = member
        self.changed: list[Callable[[], None]] = []

    def is_live(self, member: str) -> bool:
        """See Placement."""
        return member == self.member

    def owner(self, unit: str) -> str:
        """See Placement."""
        return self.member

    def owns(self, unit: str) -> bool:
        """See Placement."""
        return True


def rendezvous(unit: str, members: Collection[str]) -> str:
    """Returns the member with the highest score for a unit: highest random weight, Thaler and Ravishankar, 1996.

    Every caller with the same members gets the same answer, and one that goes gives its units evenly to the others.

    Raises:
        ValueError: there is no member.
    """
    return max(members, key=lambda member: (blake2b(f"{member}\0{unit}".encode(), digest_size=8).digest(), member))
