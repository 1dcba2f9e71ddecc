"""Which members are live, as this one judges by the heartbeats that arrive while its own go through."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sira.cluster.v1.member_pb2 import MemberState
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.clock import Clock
from sira_grpc.cluster.placing import LivePlacement
from sira_grpc.cluster.view import ClusterView, MemberEntry
from sira_grpc.config import ClusterConfig

GRACE_TIMEOUTS = 4
"""Timeouts for which silence does not count after a stall, at most.

Measured: after the death of the leader of a NATS cluster, heartbeats of one member went through up to 2.1 s after those
of another, which is more than a timeout."""
LIVE = MemberState.MEMBER_STATE_LIVE
STOPPING = MemberState.MEMBER_STATE_STOPPING
DEAD = MemberState.MEMBER_STATE_DEAD


@dataclass(slots=True)
class _Silence:
    """Since when nothing has come of a member.

    Attributes:
        since: when it was last heard, on the monotonic clock; after a stall, from when on its silence counts.
        told: what it has said of itself that others act on.
        beats: this member's own heartbeats that went through since.
        heard: heartbeats of it that came since the last one of this member's own.
        dead_at: when it was found dead; None while it is not.
    """

    since: float
    told: tuple[bool, tuple[str, ...]]
    beats: int = 0
    heard: int = 0
    dead_at: float | None = None


class LiveMembers:
    """Judges each time that a heartbeat of its own is back in its view, and then only.

    A member is dead once nothing has come of it for `member_timeout`, and for as many own heartbeats as fit into that:
    so where the store is slow for everybody, nobody is. When no own heartbeat was back for `member_timeout`, be it the
    store's fault or that this process was stopped, the silence of the others says nothing, and all begin anew. Was it
    the store's, so that nobody else was heard either, silence counts again only after as much time as that lasted,
    GRACE_TIMEOUTS at most: connections to a store come back one after another. Where it is so each time, the heartbeats
    alone are counted. One that is heard again is live again.

    Args:
        member: id of this member, which is never dead.
        placement: is told who takes work: those that are live, have announced addresses and do not stop.

    Attributes:
        changed: called on the event loop after a member has come, gone or changed its state or addresses.
    """

    def __init__(
        self, member: str, view: ClusterView, placement: LivePlacement, config: ClusterConfig, clock: Clock
    ) -> None:
        self._member = member
        self._view = view
        self._placement = placement
        self._timeout = config.member_timeout
        self._interval = config.heartbeat_interval
        self._beats = math.ceil(config.member_timeout / config.heartbeat_interval - 1e-9)
        self._clock = clock
        self._silences: dict[str, _Silence] = {}
        self._beaten_at = clock.monotonic()
        self._stalled = False
        self._leaving = False
        self._states: dict[str, MemberState.ValueType] = {}
        self._counts: Mapping[MemberState.ValueType, int] = {}
        self.changed: list[Callable[[], None]] = []

    @property
    def counts(self) -> Mapping[MemberState.ValueType, int]:
        """How many members are in which state. Replaced when it changes: may be read from any thread."""
        return self._counts

    def begin(self, *, shared: bool) -> None:
        """Takes those that the view was filled with for live, and follows it from here on.

        On a store that is not shared they are what earlier runs have left: dead.
        """
        now = self._clock.monotonic()
        self._beaten_at = now
        self._silences = {member: _Silence(now, _told(entry)) for member, entry in self._view.members.items()}
        for silence in self._silences.values():
            silence.dead_at = None if shared else now
        self._view.member_written.append(self._written)
        self._view.member_gone.append(self._gone)
        self._place()

    def state(self, entry: MemberEntry) -> MemberState.ValueType:
        """Says how a member is."""
        silence = self._silences.get(entry.member)
        if silence is not None and silence.dead_at is not None:
            return DEAD
        return STOPPING if entry.record.stopping or (self._leaving and entry.member == self._member) else LIVE

    def of(self, member: str) -> Sequence[str]:
        """Returns the addresses of a member; none if it is not known, or has not announced them."""
        entry = self._view.members.get(member)
        return tuple(entry.record.addresses) if entry is not None else ()

    def client_kinds(self) -> set[ClientKind.ValueType]:
        """Returns the kinds of clients of all other members that are not dead, as of their last heartbeats."""
        others = (e for e in self._view.members.values() if e.member != self._member and self.state(e) != DEAD)
        return {kind for entry in others for kind in entry.record.client_kinds}

    def dead_since(self, before: float) -> list[MemberEntry]:
        """Returns the members that were found dead before a time on the monotonic clock."""
        return [
            entry
            for member, entry in self._view.members.items()
            if (silence := self._silences.get(member)) is not None
            and silence.dead_at is not None
            and silence.dead_at < before
        ]

    def beaten(self) -> None:
        """Judges the others: a heartbeat of this member's has gone through and is in its view."""
        now = self._clock.monotonic()
        gap, self._beaten_at = now - self._beaten_at, now
        stalled = gap >= self._timeout
        if stalled and not self._stalled:
            grace = self._grace(gap)
            for silence in self._silences.values():
                silence.since, silence.beats = now + grace, 0
        else:
            for member, silence in self._silences.items():
                self._judge(member, silence, now)
        for silence in self._silences.values():
            silence.heard = 0
        self._stalled = stalled
        self._place()

    def leave(self) -> None:
        """From here on this member takes no work, unless there is nobody else."""
        self._leaving = True
        self._place()

    def _grace(self, gap: float) -> float:
        """How long silence does not count: the part of a gap between own heartbeats in which nobody was heard."""
        others = (silence.heard for member, silence in self._silences.items() if member != self._member)
        silent = gap - max(others, default=0) * self._interval
        return min(max(0.0, silent), GRACE_TIMEOUTS * self._timeout)

    def _judge(self, member: str, silence: _Silence, now: float) -> None:
        silence.beats += 1
        silent = silence.beats >= self._beats and now - silence.since >= self._timeout * (1 - 1e-9)
        if silent and silence.dead_at is None and member != self._member:
            silence.dead_at = now

    def _written(self, entry: MemberEntry) -> None:
        before = self._silences.get(entry.member)
        now = self._silences[entry.member] = _Silence(self._clock.monotonic(), _told(entry))
        if before is None or before.dead_at is not None or before.told != now.told:
            self._place(moved=True)
        else:
            # What is heard first after a stall may have been written before it: it does not shorten the grace.
            now.since = max(now.since, before.since)
        now.heard = before.heard + 1 if before is not None else 1

    def _gone(self, member: str) -> None:
        self._silences.pop(member, None)
        self._place()

    def _place(self, *, moved: bool = False) -> None:
        """Counts states and tells who takes work; `moved` says that it is news even where no state has changed."""
        members = self._view.members
        states = {member: self.state(entry) for member, entry in members.items()}
        if states == self._states and not moved:
            return
        self._states, self._counts = states, Counter(states.values())
        takes = frozenset(m for m, state in states.items() if state == LIVE and members[m].record.addresses)
        self._placement.place(takes or frozenset((self._member,)))
        for hook in tuple(self.changed):
            hook()


def _told(entry: MemberEntry) -> tuple[bool, tuple[str, ...]]:
    return entry.record.stopping, tuple(entry.record.addresses)
