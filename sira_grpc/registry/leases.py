"""Leases as they are held: who holds each one now, and when the others run out. Kept in memory, never per heartbeat."""

from __future__ import annotations

import heapq
from asyncio import Future, get_running_loop
from collections.abc import Iterator
from dataclasses import dataclass

from sira.registry.v1.lease_pb2 import LeaseState

from sira_grpc.clock import Clock
from sira_grpc.errors import LeaseNotFound, LeaseNotYours
from sira_grpc.registry import names
from sira_grpc.registry.entries import LeaseEntry
from sira_grpc.registry.lease_key import LeaseKey
from sira_grpc.registry.times import seconds
from sira_grpc.registry.view import RegistryView


@dataclass(slots=True, eq=False)
class Hold:
    """A stream that holds a lease."""

    lease: str
    ended: Future[None]  # done when another stream took over, or the lease is gone


@dataclass(slots=True, eq=False)
class Tenure:
    """How one lease is held."""

    ttl: float  # seconds
    state: LeaseState.ValueType
    deadline: float  # on the monotonic clock; of no meaning while HELD
    hold: Hold | None = None
    writers: int = 0  # registrations under way
    closing: bool = False  # it is being removed: nothing may be registered any more
    queued: bool = False  # it has its place in the heap: one at most, however often its stream is lost


class LeaseTable:
    """The tenure of every lease in the view.

    Deadlines are kept in a heap that renewals do not touch: a lease that is found to have been renewed when its old
    deadline comes up goes back with its new one. So a renewal is a look-up, a hash and an assignment.
    """

    def __init__(self, view: RegistryView, clock: Clock) -> None:
        self._view = view
        self._clock = clock
        self._tenures: dict[str, Tenure] = {}
        self._heap: list[tuple[float, str]] = []

    def __getitem__(self, lease: str) -> Tenure:
        return self._tenures[lease]

    def recover(self) -> None:
        """Gives every lease of the view, which was held before a restart, one TTL to come back."""
        now = self._clock.monotonic()
        for lease, entry in self._view.leases.items():
            state = LeaseState.LEASE_STATE_SUSPECT if entry.suspect else LeaseState.LEASE_STATE_RECOVERING
            self._begin(lease, seconds(entry.record.ttl), state, now)

    def created(self, lease: str, ttl: float) -> Tenure:
        """Begins the tenure of a new lease, which unary calls renew until a stream attaches."""
        return self._begin(lease, ttl, LeaseState.LEASE_STATE_RENEWED, self._clock.monotonic())

    def _begin(self, lease: str, ttl: float, state: LeaseState.ValueType, now: float) -> Tenure:
        tenure = self._tenures[lease] = Tenure(ttl, state, now + ttl)
        self._queue(lease, tenure, tenure.deadline)
        return tenure

    def _queue(self, lease: str, tenure: Tenure, at: float) -> None:
        if not tenure.queued:
            tenure.queued = True
            heapq.heappush(self._heap, (at, lease))

    def open(self, key_text: str) -> LeaseEntry:
        """Returns the lease that a key opens.

        Raises:
            LeaseNotFound: it is gone, or on its way out, or never was.
            LeaseNotYours: the secret is wrong.
        """
        key = LeaseKey.parse(key_text)
        entry = self._view.leases.get(key.id)
        tenure = self._tenures.get(key.id)
        if entry is None or tenure is None or tenure.closing:
            raise LeaseNotFound(
                "lease_key: the lease expired, was revoked, or never was", metadata={"lease": key.id[:64]}
            )
        if not key.opens(entry.record.secret_sha256):
            raise LeaseNotYours("lease_key: the secret is wrong", metadata={"lease": names.lease_name(key.id)})
        return entry

    def attach(self, lease: str) -> Hold:
        """Binds a lease to a stream; an older stream's hold ends."""
        tenure = self._tenures[lease]
        self._end_hold(tenure)
        tenure.hold = Hold(lease, get_running_loop().create_future())
        tenure.state = LeaseState.LEASE_STATE_HELD
        return tenure.hold

    def lost(self, hold: Hold) -> bool:
        """Notes that a stream was lost: the TTL runs. False if the stream did not hold its lease any more."""
        tenure = self._tenures.get(hold.lease)
        if tenure is None or tenure.hold is not hold:
            return False
        tenure.hold = None
        tenure.state = LeaseState.LEASE_STATE_SUSPECT
        tenure.deadline = self._clock.monotonic() + tenure.ttl
        self._queue(hold.lease, tenure, tenure.deadline)
        return True

    def renew(self, lease: str) -> bool:
        """Puts off the deadline of a lease. True if it was suspect until now."""
        tenure = self._tenures[lease]
        if tenure.state == LeaseState.LEASE_STATE_HELD:
            return False
        was_suspect = tenure.state == LeaseState.LEASE_STATE_SUSPECT
        tenure.state = LeaseState.LEASE_STATE_RENEWED
        tenure.deadline = self._clock.monotonic() + tenure.ttl
        return was_suspect

    def forget(self, lease: str) -> None:
        """Ends the tenure of a lease that is gone from the view."""
        tenure = self._tenures.pop(lease, None)
        if tenure is not None:
            self._end_hold(tenure)

    @staticmethod
    def _end_hold(tenure: Tenure) -> None:
        if tenure.hold is not None and not tenure.hold.ended.done():
            tenure.hold.ended.set_result(None)
        tenure.hold = None

    def due(self) -> list[str]:
        """Takes the leases that have run out from the heap: each must then be removed, or put back by postpone()."""
        now = self._clock.monotonic()
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now:
            _, lease = heapq.heappop(self._heap)
            tenure = self._tenures.get(lease)
            if tenure is None:
                continue
            tenure.queued = False
            if tenure.state == LeaseState.LEASE_STATE_HELD:
                continue
            if tenure.deadline > now:
                self._queue(lease, tenure, tenure.deadline)
            else:
                found.append(lease)
        return found

    def postpone(self, lease: str, delay: float) -> None:
        """Looks at a lease that has run out again after a delay in seconds, without renewing it."""
        self._queue(lease, self._tenures[lease], self._clock.monotonic() + delay)

    def at_risk(self, lease: str, window: float) -> bool:
        """Whether a lease will run out within a window in seconds unless something is heard.

        A lease that unary calls renew counts once two thirds of its TTL are over: its holder, which should renew three
        times a TTL, has missed a renewal.
        """
        tenure = self._tenures.get(lease)
        if tenure is None:
            return True
        if tenure.state == LeaseState.LEASE_STATE_HELD:
            return False
        left = tenure.deadline - self._clock.monotonic()
        if tenure.state == LeaseState.LEASE_STATE_SUSPECT:
            return left <= window
        return left <= min(window, tenure.ttl / 3)

    def states(self) -> Iterator[LeaseState.ValueType]:
        """Yields the state of every lease."""
        for tenure in self._tenures.values():
            yield tenure.state
