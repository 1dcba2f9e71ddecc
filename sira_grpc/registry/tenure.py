"""How one lease is held, as the member knows that has it."""

from __future__ import annotations

from asyncio import Event, Future
from dataclasses import dataclass
from math import inf

from sira.registry.v1.lease_pb2 import LeaseState


@dataclass(slots=True, eq=False)
class Hold:
    """A stream that holds a lease."""

    lease: str
    ended: Future[None]  # done when another stream or member took over, or the lease is gone
    moved: bool = False  # it ended as the lease is with another member now


@dataclass(slots=True, eq=False)
class Tenure:
    """How one lease is held."""

    ttl: float  # seconds
    state: LeaseState.ValueType  # of no meaning while it is elsewhere
    deadline: float  # in lease time; of no meaning while it is HELD, or elsewhere
    member: str  # whom its record named when it was last looked at
    elsewhere: bool = False  # another member has it, and lets it expire
    heard: bool = False  # something was heard of it since it came here: its record should name this member
    hold: Hold | None = None
    writers: int = 0  # registrations under way
    written: Event | None = None  # set by the last of them, for whoever waits to remove the lease
    closing: bool = False  # it is being removed: nobody may use it any more
    queued_at: float = inf  # its place in the heap: one that counts, however often its stream is lost

    def end_hold(self, *, moved: bool = False) -> None:
        """Tells the stream that holds it, if there is one, that it does no more."""
        if self.hold is not None and not self.hold.ended.done():
            self.hold.moved = moved
            self.hold.ended.set_result(None)
        self.hold = None
