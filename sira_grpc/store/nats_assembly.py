"""Commits put together from the messages that they lie in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sira_grpc.store.api import Change, Commit
from sira_grpc.store.nats_envelope import Kind, StateMessage


@dataclass(frozen=True, slots=True)
class Part:
    """One message of a commit: where it lies, its key (empty for what is no entry), and what it says."""

    sequence: int
    key: str
    message: StateMessage


class Assembly:
    """Collects the messages of the state in the order of their sequences, and gives out whole commits."""

    def __init__(self) -> None:
        self._parts: list[Part] = []

    def add(self, part: Part) -> Sequence[Part]:
        """Adds a message; returns the parts of the commit that it completes, none if more are to come."""
        if part.message.place == 1:
            self._parts.clear()
        self._parts.append(part)
        if part.message.place < part.message.count:
            return ()
        done, self._parts = self._parts, []
        return done

    def clear(self) -> None:
        """Forgets a commit that is not whole."""
        self._parts.clear()


def commit_of(parts: Sequence[Part]) -> Commit | None:
    """Returns the commit that the parts are; None if it changes nothing."""
    changes = tuple(
        Change(part.key, part.message.value if part.message.kind is Kind.PUT else None, part.sequence)
        for part in parts
        if part.message.kind in {Kind.PUT, Kind.DELETE}
    )
    return Commit(changes[-1].revision, changes) if changes else None
